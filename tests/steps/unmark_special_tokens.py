"""Mark no added token of a tokenizer as special."""

import json
import sys
from pathlib import Path

path = Path(sys.argv[1]) / "tokenizer.json"
content = json.loads(path.read_text())
for token in content["added_tokens"]:
    token["special"] = False
path.write_text(json.dumps(content))
