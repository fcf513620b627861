"""Print one text's tokens by each tokenizer, and the text that they stand for."""

import sys

from transformers import AutoTokenizer

for folder in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer.encode("In 2023 the licensor's work, über alles:<|im_end|>")
    print(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id, repr(tokenizer.decode(tokens)))
