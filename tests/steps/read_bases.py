"""Read every base of a folder, and drawn texts with its tokenizer, in this environment."""

import json
import sys
from pathlib import Path

import read_base

by, texts = read_base.this_reader(), json.loads(Path(sys.argv[2]).read_text())
for folder in sorted(Path(sys.argv[1]).iterdir()):
    reading = read_base.read(folder, by)
    try:
        tokenizer = by.tokenizer_of(folder)
        reading["drawn"] = [[tokenizer.encode(text, add_special_tokens=add) for add in (True, False)] for text in texts]
    except Exception:
        reading["drawn"] = None
    Path(sys.argv[3], f"{folder.name}.json").write_text(json.dumps(reading))
