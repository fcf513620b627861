"""Ask the running server (make serve) for a question's title, base and adapter side by side, word by word.

The prompt is made by the adapter's own jq program, as in training. The question comes from the command line, a file
(@question.txt) or, where there is none, stdin; the program gets a record that is blank but for the question.
"""

import argparse
from pathlib import Path

from openai import OpenAI

from adapter_build.core.faults import BadInput, run
from adapter_build.models.control_tokens import BaseFacts
from adapter_build.models.prompt_program import NO_FACTS
from adapter_build.serving.api_key import api_key
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.serving.question import question_prompt, question_text, streamed_answer
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
    text = question_text(options.question)
    url = options.url or f"http://127.0.0.1:{config['deploy']['port']}"
    client = OpenAI(base_url=f"{url}/v1", api_key=api_key() or "none", timeout=SECONDS_TO_ANSWER, max_retries=0)
    names = options.adapter or sorted(config["adapters"])
    base = config["base"]["name"]
    width = max(map(len, [base, *names])) + 2
    path = Path("results/base") / f"{base}.facts.json"
    facts = BaseFacts.read(path) if path.is_file() else NO_FACTS  # a server of another checkout's build
    prompts = {name: question_prompt(Path(config["adapters"][name]["prompt"]), text, facts) for name in names}
    for name in names:
        for model in (base, name):
            pieces = streamed_answer(client, url, model, prompts[name], options.max_tokens)
            print(f"{model:<{width}}{next(pieces, '')}", end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
            print(flush=True)


if __name__ == "__main__":
    run(main)
