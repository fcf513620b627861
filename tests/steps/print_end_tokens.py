"""Print the end token of each tokenizer in a folder."""

import json
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerFast

for folder in sorted(Path(sys.argv[1]).iterdir()):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    print(json.dumps([folder.name, tokenizer.eos_token, tokenizer.eos_token_id]))
