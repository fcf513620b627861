"""Check the running server (make serve) again and again, and keep a file that says whether it is as the sentinel says.

The file is for whoever needs the server: `ready`, `reason` (null, or the check that failed), `checked_at` and
`good_until` in UTC. One that is no longer good was left by a watch that was killed. It is written whole, lies
outside of results/, and is removed when the watch ends.
"""

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

from adapter_build.core.atomic_file import write_whole
from adapter_build.core.faults import BadInput, run, say
from adapter_build.core.jsonl import read_jsonl
from adapter_build.core.processes import ended_by_signals
from adapter_build.serving.deployment_checks import Asking, check, special_tokens
from adapter_build.serving.deployment_prompts import PREDICTIONS, Row
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.serving.sentinel import read_sentinel
from adapter_build.serving.served_build import base_files
from adapter_build.workflow.configuration import read_config

MISSED = 2  # intervals without a new status after which the last one is not good any more


def main() -> None:
    """Check, write the status, wait, until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=Path("results"), type=Path, help="what the build made (default: results)")
    parser.add_argument("--config", default=[Path("config.yaml")], nargs="+", type=Path, help="the file, then overlays")
    parser.add_argument("--url", help="the server (default: http://127.0.0.1 and deploy.port)")
    parser.add_argument("--interval", default=60.0, type=float, help="seconds from one check to the next (default: 60)")
    parser.add_argument("--status", default=Path("logs/deployment.json"), type=Path, help="the file to keep")
    options = parser.parse_args()
    if options.interval <= 0:
        raise BadInput(f"--interval {options.interval:g}: must be more than 0 seconds")
    if options.status.resolve().is_relative_to(options.results.resolve()):
        raise BadInput(f"--status {options.status}: lies in {options.results}, which holds artifacts alone")
    sentinel = _sentinel(options.results / "deploy" / "ready.json")
    golden = _golden(sentinel, options.results / "evaluation")
    specials = special_tokens(base_files(options.results / "base" / sentinel["base"]["name"]))
    url = options.url or f"http://127.0.0.1:{read_config(*options.config)['deploy']['port']}"
    last: str | None = "not asked yet"
    try:
        with ended_by_signals():
            while True:
                reason = _reason(url, sentinel, golden, specials)
                if reason != last:
                    say(f"{url}: {reason or 'ready'}")
                last = reason
                _keep(options.status, reason, options.interval)
                time.sleep(options.interval)
    except SystemExit:  # what TERM and Ctrl-C become
        print("stopped", flush=True)
    finally:
        options.status.unlink(missing_ok=True)


def _sentinel(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"{path}: no sentinel there: run `make` first")
    return read_sentinel(path, ["base", "adapters"], ["name", "prompt_id", "answer"])


def _golden(sentinel: dict[str, Any], folder: Path) -> dict[str, list[Row]]:
    """Return the golden prompt of each adapter, as a row of its predictions."""
    golden = {}
    for adapter in sentinel["adapters"]:
        path = folder / f"{adapter['name']}{PREDICTIONS}"
        row = next((row for row in read_jsonl(path) if row["id"] == adapter["prompt_id"]), None)
        if row is None:
            raise BadInput(f"{path}: has no record {adapter['prompt_id']}, which the sentinel names: run `make`")
        golden[adapter["name"]] = [row]
    return golden


def _reason(url: str, sentinel: dict[str, Any], golden: dict[str, list[Row]], specials: dict[str, int]) -> str | None:
    """Return what is not as the sentinel says, or None."""
    # A sentinel is what the server is compared with here: it says how far evaluation's answers may be others.
    how = Asking(sentinel.get("max_new_tokens", MAX_TOKENS), differing=None)
    try:
        found = check(url, sentinel["base"]["name"], golden, specials, how)
    except BadInput as fault:
        return str(fault)
    for adapter in sentinel["adapters"]:
        answer = found[adapter["name"]]["answer"]
        if answer != adapter["answer"]:
            return f"adapter {adapter['name']}: answers {answer!r}, not {adapter['answer']!r} as the sentinel says"
    return None


def _keep(path: Path, reason: str | None, interval: float) -> None:
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(seconds=(1 + MISSED) * interval)
    status = {
        "ready": reason is None,
        "reason": reason,
        "checked_at": now.isoformat(timespec="milliseconds"),
        "good_until": until.isoformat(timespec="milliseconds"),
    }
    write_whole(path, json.dumps(status, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
