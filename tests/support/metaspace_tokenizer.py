"""Write a SentencePiece-like tokenizer.json, as Llama 2 has it: `metaspace_tokenizer.py FILE`, in environment tune."""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

LICENSE = Path(__file__).parents[2] / "LICENSE"
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{number:02X}>" for number in range(256)]

if __name__ == "__main__":
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=768, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    tokenizer.train_from_iterator([LICENSE.read_text(encoding="utf-8")[:4000]], trainer)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in SPECIAL]
    Path(sys.argv[1]).write_text(json.dumps(content), encoding="utf-8")
