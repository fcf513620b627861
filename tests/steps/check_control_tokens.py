"""Encode drawn texts with each tokenizer; control tokens of posts are text, those of programs control."""

import random
import sys
from pathlib import Path

from adapter_build.models.answer_tokens import control_tokens, encode, fit_prompt, text_tokens
from adapter_build.models.control_tokens import BaseFacts, as_text
from adapter_build.models.tuning_reader import tokenizer_of

draw = random.Random(7)


def text(parts):
    return "".join(draw.choice(parts) for _ in range(draw.randint(1, 9))) + "x"


for name in sys.argv[1:]:
    tokenizer = tokenizer_of(Path(name))
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    adds = tokenizer.encode("")[:1] == [bos]
    tokens = control_tokens(tokenizer)
    parts = [*tokens, "<", "|", "/s>", " ", "  ", "\n", "Is it lawful", "é", "法", " a"]

    for _ in range(150):
        post, title = text(parts), text(parts)
        if post.startswith(tokenizer.bos_token):
            post = "Q" + post
        example = encode(tokenizer, {"id": "1", "input": f"Q {post}\nTITLE:", "output": title}, 4000, "x")
        assert [at for at, token in enumerate(example.tokens) if token == eos] == [len(example.tokens) - 1], title
        assert example.tokens[:1].count(bos) == adds and bos not in example.tokens[1:], post
        # What format_prompts leaves of the post is to a server what it is here.
        plain = as_text(f"Q {post}\nTITLE:", tokens)
        assert fit_prompt(tokenizer, plain, 4000) == (tokenizer.encode(plain), 0), plain
        # Sound text has the tokens that it always had.
        assert text_tokens(tokenizer, plain) == tokenizer.encode(plain, add_special_tokens=False)

    # Control tokens that the program wrote are control, those of a post beside them are text.
    ours, other = sorted({tokenizer.bos_token, tokenizer.eos_token})
    row = {"input": f"A {ours} B {other} C", "output": "D", "control": [ours]}
    found = encode(tokenizer, row, 4000, "x")
    meant, spoken = (tokenizer.convert_tokens_to_ids(token) for token in (ours, other))
    prompt = found.tokens[1 if adds else 0 : found.prompt]
    assert prompt.count(meant) == 1 and spoken not in prompt, prompt
    assert found.tokens[: found.prompt] == tokenizer.encode(f"A {ours} B {as_text(other, [other])} C")

    # A prompt that writes BOS itself has one, as a server has it of what format_prompts writes.
    for written in (1, 2):
        prompt = tokenizer.bos_token * written + "Question\nTITLE:"
        facts = BaseFacts(tokenizer.bos_token, adds, tuple(tokens))
        served = tokenizer.encode(facts.once_begun(prompt))
        for control in ([], [tokenizer.bos_token]):
            assert fit_prompt(tokenizer, prompt, 4000, control)[0] == served, (written, control)
        assert served[0] == bos and served.count(bos) == 1

    # The twin: read as they stand, the same words end the text in its middle.
    assert eos in tokenizer.encode(f"Is output after {tokenizer.eos_token} mine?")
    print("checked", name, adds)
