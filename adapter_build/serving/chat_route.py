"""The chat route of the embedded engine: open for the base, closed for adapters.

Adapters are tuned on the prompts that their jq programs make, as they stand. The chat route puts the base's template
around what it is asked, which an adapter never saw: its answers would look like the base's.
"""

import json

from adapter_build.serving.nim_paths import App, Message, asked

PATH = "/v1/chat/completions"
MEND = "ask /v1/completions with the prompt that the adapter's jq program makes (make ask does so)"


async def refused(app: App, scope: Message, body: bytes) -> tuple[int, str] | None:
    """Return status and reason where a request to chat is not one to a base that `app`, the server itself, lists."""
    model = json.loads(body)["model"]
    status, models = await asked(app, scope, "/v1/models")
    if status != 200:
        return 503, "the server does not list its models yet: ask again when /v1/health/ready is 200"
    parents = {listed["id"]: listed.get("parent") for listed in json.loads(models)["data"]}
    if model not in parents:
        return 404, f"no model {json.dumps(model)[:80]} here: /v1/models lists them"
    if parents[model]:
        return 400, f"adapter {model} is tuned on plain prompts, and chat puts a template around them: {MEND}"
    return None
