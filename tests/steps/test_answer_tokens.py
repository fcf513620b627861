"""answer_tokens: one end token, the one meant; one BOS where the tokenizer has one; what is tuned is what is served."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_chain import ROOT, python

pytestmark = pytest.mark.slow  # it imports transformers

CHECK = """
import json, random, sys
from pathlib import Path
from adapter_build.models.answer_tokens import control_tokens, encode, fit_prompt, text_tokens
from adapter_build.models.control_tokens import BaseFacts, as_text
from adapter_build.models.tuning_files import tokenizer_of

draw = random.Random(7)
for name in sys.argv[1:]:
    tokenizer = tokenizer_of(Path(name))
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    adds = tokenizer.encode("")[:1] == [bos]
    tokens = control_tokens(tokenizer)
    parts = [*tokens, "<", "|", "/s>", " ", "  ", "\\n", "Is it lawful", "é", "法", " a"]

    def text():
        return "".join(draw.choice(parts) for _ in range(draw.randint(1, 9))) + "x"

    for number in range(150):
        post, title = text(), text()
        if post.startswith(tokenizer.bos_token):
            post = "Q" + post
        example = encode(tokenizer, {"id": "1", "input": f"Q {post}\\nTITLE:", "output": title}, 4000, "x")
        assert [at for at, token in enumerate(example.tokens) if token == eos] == [len(example.tokens) - 1], title
        assert example.tokens[:1].count(bos) == adds and bos not in example.tokens[1:], post
        # What format_prompts leaves of the post is to a server what it is here.
        plain = as_text(f"Q {post}\\nTITLE:", tokens)
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
        prompt = tokenizer.bos_token * written + "Question\\nTITLE:"
        facts = BaseFacts(tokenizer.bos_token, adds, tuple(tokens))
        served = tokenizer.encode(facts.once_begun(prompt))
        for control in ([], [tokenizer.bos_token]):
            assert fit_prompt(tokenizer, prompt, 4000, control)[0] == served, (written, control)
        assert served[0] == bos and served.count(bos) == 1

    # The twin: read as they stand, the same words end the text in its middle.
    assert eos in tokenizer.encode(f"Is output after {tokenizer.eos_token} mine?")
    print("checked", name, adds)
"""
SPECIAL_NO_MORE = """
import json, sys
from pathlib import Path
path = Path(sys.argv[1]) / "tokenizer.json"
content = json.loads(path.read_text())
for token in content["added_tokens"]:
    token["special"] = False
path.write_text(json.dumps(content))
"""


@pytest.fixture
def metaspace(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base with a tokenizer such as Llama 2's, which adds BOS."""
    folder = tmp_path / "metaspace"
    folder.mkdir()
    shutil.copy(tiny_base / "config.json", folder)
    command = [
        ROOT / ".venvs/tune/bin/python",
        ROOT / "tests/support/metaspace_tokenizer.py",
        folder / "tokenizer.json",
    ]
    subprocess.run(command, check=True)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}'
    )
    return folder


def test_control_tokens_in_posts_are_text(tiny_base: Path, metaspace: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"  # its control tokens are not called special
    shutil.copytree(tiny_base, plain)
    python(SPECIAL_NO_MORE, tmp_path, plain)
    said = python(CHECK, tmp_path, tiny_base, metaspace, plain)
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("checked")] == ["False", "True", "False"]
