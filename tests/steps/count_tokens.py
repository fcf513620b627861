"""Print how many tokens each prompt of a file has."""

import json
import sys

from transformers import AutoTokenizer

from adapter_build.core.jsonl import read_jsonl

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps([len(tokenizer.encode(row["input"])) for row in read_jsonl(sys.argv[2])]))
