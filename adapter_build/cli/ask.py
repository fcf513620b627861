"""Ask the running server (make serve) for a question's title, base and adapter side by side, word by word.

The prompt is made by the adapter's own jq program, as in training. The question comes from the command line, a file
(@question.txt) or, where there is none, stdin; the program gets a record that is blank but for the question.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openai import APIConnectionError, APIError, OpenAI

from adapter_build.core.faults import BadInput, run
from adapter_build.models.control_tokens import BaseFacts, found_in
from adapter_build.models.prompt_program import NO_FACTS, compiled, with_control
from adapter_build.serving.api_key import api_key
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.workflow.configuration import read_config

SECONDS_TO_ANSWER = 300


def main() -> None:
    """Print the answers of the base and of each adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="*", help="the question, or @FILE; none: stdin")
    parser.add_argument("--config", default=[Path("config.yaml")], nargs="+", type=Path, help="the file, then overlays")
    parser.add_argument("--url", help="the server (default: http://127.0.0.1 and deploy.port)")
    parser.add_argument("--adapter", nargs="+", default=[], help="these alone (default: every one in config)")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help=f"at the most (default: {MAX_TOKENS})")
    options = parser.parse_args()
    config = read_config(*options.config)
    if unknown := sorted(set(options.adapter) - set(config["adapters"])):
        raise BadInput(f"--adapter {unknown[0]}: config has {', '.join(config['adapters'])}")
    text = question(options.question)
    url = options.url or f"http://127.0.0.1:{config['deploy']['port']}"
    client = OpenAI(base_url=f"{url}/v1", api_key=api_key() or "none", timeout=SECONDS_TO_ANSWER, max_retries=0)
    names = options.adapter or sorted(config["adapters"])
    base = config["base"]["name"]
    width = max(map(len, [base, *names])) + 2
    path = Path("results/base") / f"{base}.facts.json"
    facts = BaseFacts.read(path) if path.is_file() else NO_FACTS  # a server of another checkout's build
    prompts = {name: prompt(Path(config["adapters"][name]["prompt"]), text, facts) for name in names}
    for name in names:
        for model in (base, name):
            pieces = answer(client, url, model, prompts[name], options.max_tokens)
            print(f"{model:<{width}}{next(pieces, '')}", end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
            print(flush=True)


def question(words: Sequence[str]) -> str:
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


def prompt(program: Path, text: str, facts: BaseFacts = NO_FACTS) -> str:
    """Return the prompt that an adapter's jq program makes of a question alone."""
    text = facts.as_text(text)
    record = {"id": "0", "title": "?", "question": text, "answer": "?", "tags": [], "score": None}
    try:
        made = compiled(program).input_value(record).first()
    except ValueError as error:
        raise BadInput(f"{program}: makes no prompt of a question alone: jq: {error}") from None
    written = found_in(program.read_text(encoding="utf-8"), facts.control)
    return with_control(str(program), {"output": "?", **made}, written, facts)["input"]


def answer(client: Any, url: str, model: str, text: str, limit: int) -> Iterator[str]:
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


if __name__ == "__main__":
    run(main)
