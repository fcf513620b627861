"""Turn curated records into prompts: a jq program makes {input, output} of each.

The model is trained on `input`, a space, `output` and the end token; so neither may end in a blank, nor be empty.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jq

from faults import BadInput, run
from jsonl import read_jsonl, write_jsonl


def main() -> None:
    """Write one prompt per record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="jq program: curated record to {input, output}")
    parser.add_argument("--curated", type=Path, required=True, help="curated records, JSON Lines")
    parser.add_argument("--prompts", type=Path, required=True, help="prompts to write, JSON Lines")
    arguments = parser.parse_args()
    program = compiled(arguments.program)
    write_jsonl(arguments.prompts, _prompts(arguments.program, program, arguments.curated))


def compiled(path: Path) -> Any:
    """Return a jq program, ready to run. Raises `BadInput` naming the file."""
    try:
        return jq.compile(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise BadInput(f"{path}: not a jq program: {str(error).removeprefix('jq: error: ')}") from None


def _prompts(path: Path, program: Any, curated: Path) -> Iterator[dict[str, str]]:
    for row in read_jsonl(curated):
        where = f"{path}: record {row['id']} of {curated}"
        try:
            results = program.input_value(row).all()
        except ValueError as error:
            raise BadInput(f"{where}: jq: {error}") from None
        if len(results) != 1:
            raise BadInput(f"{where}: the program made {len(results)} results, expected one object {{input, output}}")
        yield {"id": row["id"], **_checked(where, results[0])}


def _checked(where: str, prompt: Any) -> dict[str, str]:
    if not isinstance(prompt, dict) or set(prompt) != {"input", "output"}:
        made = f"keys {', '.join(sorted(prompt)) or 'none'}" if isinstance(prompt, dict) else type(prompt).__name__
        raise BadInput(f"{where}: the program must make an object {{input, output}}, it made {made}")
    for name, text in prompt.items():
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f"{where}: {name} must be a text that is not empty, it is {text!r}")
        if text != text.rstrip():
            raise BadInput(
                f"{where}: {name} ends in a blank ({text[-12:]!r}): a model trained so answers badly: strip it"
            )
    return prompt


if __name__ == "__main__":
    run(main)
