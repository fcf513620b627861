"""Prompt programs: jq programs that make {input, output} of a curated record, and the control tokens they write."""

from pathlib import Path
from typing import Any

import jq

from adapter_build.core.faults import BadInput
from adapter_build.models.control_tokens import BaseFacts, found_in

NO_FACTS = BaseFacts(None, False, ())


def compiled(path: Path) -> Any:
    """Return a compiled jq program. Raises `BadInput` naming the file."""
    try:
        return jq.compile(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise BadInput(f"{path}: not a jq program: {str(error).removeprefix('jq: error: ')}") from None


def with_control(where: str, prompt: dict[str, str], written: list[str], facts: BaseFacts) -> dict[str, Any]:
    """Return a prompt with no control tokens but those that its program has `written`, listed under `control`.

    Raises `BadInput` if the program writes one into the answer, or nothing but BOS into the prompt.
    """
    if ends := found_in(prompt["output"], written):
        raise BadInput(f"{where}: the program writes {ends[0]} into output: tuning adds the end token: leave it out")
    meant = BaseFacts(facts.bos, facts.adds_bos, tuple(token for token in facts.control if token not in written))
    text = meant.once_begun(meant.as_text(prompt["input"])).rstrip()
    if not text.strip():
        raise BadInput(f"{where}: input has nothing but {facts.bos}, which the tokenizer adds: write a prompt")
    control = found_in(text, written)
    return {
        "input": text,
        "output": meant.as_text(prompt["output"]).rstrip(),
        **({"control": control} if control else {}),
    }
