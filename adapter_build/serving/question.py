"""Question to a running server: its text, the prompt that an adapter's jq program makes of it, the streamed answer."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openai import APIConnectionError, APIError, OpenAI

from adapter_build.core.faults import BadInput
from adapter_build.models.control_tokens import BaseFacts, found_in
from adapter_build.models.prompt_program import NO_FACTS, compiled, with_control


def question_text(words: Sequence[str]) -> str:
    """Return the question that the command line, a file or stdin gives. Raises `BadInput` where it is empty."""
    text = " ".join(words)
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            mend = "give a question that begins with @ in a file, or on stdin"
            raise BadInput(f"{text[1:]}: cannot be read as text ({reason}): {mend}") from None
    elif not text:
        text = sys.stdin.read()
    if not text.strip():
        raise BadInput("no question: make ask Q='May my landlord keep my deposit?', or Q=@question.txt")
    return " ".join(text.split())


def question_prompt(program: Path, text: str, facts: BaseFacts = NO_FACTS) -> str:
    """Return the prompt that an adapter's jq program makes of a question alone."""
    text = facts.as_text(text)
    record = {"id": "0", "title": "?", "question": text, "answer": "?", "tags": [], "score": None}
    try:
        made = compiled(program).input_value(record).first()
    except ValueError as error:
        raise BadInput(f"{program}: makes no prompt of a question alone: jq: {error}") from None
    written = found_in(program.read_text(encoding="utf-8"), facts.control)
    return with_control(str(program), {"output": "?", **made}, written, facts)["input"]


def streamed_answer(client: OpenAI, url: str, model: str, text: str, limit: int) -> Iterator[str]:
    """Yield a model's greedy answer piece by piece as it streams, on one line. Raises `BadInput` without one."""
    try:
        with client.completions.create(
            model=model, prompt=text, max_tokens=limit, temperature=0, stream=True
        ) as pieces:
            began = False
            for piece in pieces:
                said = "".join(choice.text for choice in piece.choices)
                said = said if began else said.lstrip()
                began = began or bool(said)
                yield said.replace("\n", " ")
    except APIConnectionError:
        raise BadInput(
            f"{url}: no server answers: make serve, in another terminal, and wait for its curl line"
        ) from None
    except APIError as error:
        raise BadInput(f"{url}: {model}: {error.message}") from None
