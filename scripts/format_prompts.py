"""Turn curated records into prompts: a jq program makes {input, output} of each.

The model is trained on `input`, a space, `output` and the end token; so neither may end in a blank, nor be empty.
With the base's facts, control tokens that a record mentions become text, for tuning and for every server; those that
the program itself writes into `input` stay, and are listed in the prompt's `control`. A BOS that the tokenizer will add
is left out.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.models.control_tokens import BaseFacts, found_in
from adapter_build.models.prompt_program import NO_FACTS, compiled, with_control


def main() -> None:
    """Write one prompt per record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="jq program: curated record to {input, output}")
    parser.add_argument("--curated", type=Path, required=True, help="curated records, JSON Lines")
    parser.add_argument("--prompts", type=Path, required=True, help="prompts to write, JSON Lines")
    parser.add_argument("--base-facts", type=Path, help="the base's facts, from compare_base; none: no control tokens")
    arguments = parser.parse_args()
    facts = BaseFacts.read(arguments.base_facts) if arguments.base_facts else NO_FACTS
    program = compiled(arguments.program)
    write_jsonl(arguments.prompts, _prompts(arguments.program, program, arguments.curated, facts))


def _prompts(path: Path, program: Any, curated: Path, facts: BaseFacts) -> Iterator[dict[str, Any]]:
    written = found_in(path.read_text(encoding="utf-8"), facts.control)
    records, mentioning, tokens = 0, 0, set()
    for row in read_jsonl(curated):
        records += 1
        where = f"{path}: record {row['id']} of {curated}"
        text = facts.as_text(row)
        if text != row:
            mentioning += 1
            tokens.update(found_in(str(row), facts.control))
        try:
            results = program.input_value({**text, "id": row["id"]}).all()
        except ValueError as error:
            raise BadInput(f"{where}: jq: {error}") from None
        if len(results) != 1:
            raise BadInput(f"{where}: the program made {len(results)} results, expected one object {{input, output}}")
        yield {"id": row["id"], **with_control(where, _checked(where, results[0]), written, facts)}
    if mentioning:
        print(
            f"{curated}: {mentioning} of {records} records mention control tokens ({', '.join(sorted(tokens)[:5])}): a "
            "blank in each makes text of them",
            file=sys.stderr,
        )


def _checked(where: str, prompt: Any) -> dict[str, str]:
    if not isinstance(prompt, dict) or set(prompt) != {"input", "output"}:
        made = f"keys {', '.join(sorted(prompt)) or 'none'}" if isinstance(prompt, dict) else type(prompt).__name__
        raise BadInput(f"{where}: the program must make an object {{input, output}}, it made {made}")
    for name, text in prompt.items():
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f"{where}: {name} must be a text that is not empty, it is {text!r}")
        if text != text.rstrip():
            raise BadInput(
                f"{where}: {name} ends in a blank ({text[-12:]!r}): trailing white space degrades training: strip it"
            )
    return prompt


if __name__ == "__main__":
    run(main)
