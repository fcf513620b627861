"""Put a crate's context into the validator's cache, which would ask the network for it."""

import json
import sys
from pathlib import Path

import requests
import requests_cache

context = json.loads(Path(sys.argv[1]).read_text())
workflow = "https://bioschemas.org/ComputationalWorkflow"
context["@context"] |= {
    "ComputationalWorkflow": workflow,
    "input": f"{workflow}#input",
    "output": f"{workflow}#output",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
}
session = requests_cache.CachedSession(sys.argv[2], backend="sqlite", expire_after=-1)
request = requests.Request("GET", "https://w3id.org/ro/crate/1.1/context").prepare()
response = requests_cache.CachedResponse(
    status_code=200,
    url=request.url,
    content=json.dumps(context).encode(),
    headers={"Content-Type": "application/ld+json"},
)
session.cache.save_response(response, session.cache.create_key(request))
