"""Watch of a running server: its answers compared with the sentinel's, and the status file for others to read."""

import datetime
import json
from pathlib import Path
from typing import Any

from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.serving.deployment_checks import CheckTerms, check, special_tokens
from adapter_build.serving.deployment_prompts import PREDICTIONS, Row
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.serving.sentinel import read_sentinel
from adapter_build.serving.served_build import base_files

MISSED = 2  # intervals without a new status after which the last one is not good any more


class DeploymentWatch:
    """Sentinel of a build and each adapter's golden prompt. Raises `BadInput` where one is missing in `results`."""

    def __init__(self, results: Path) -> None:
        path = results / "deploy" / "ready.json"
        if not path.is_file():
            raise BadInput(f"{path}: no sentinel there: run `make` first")
        self._sentinel = read_sentinel(path, ["base", "adapters"], ["name", "prompt_id", "answer"])
        self._base = self._sentinel["base"]["name"]
        self._golden = {
            adapter["name"]: [_golden_row(results / "evaluation" / f"{adapter['name']}{PREDICTIONS}", adapter)]
            for adapter in self._sentinel["adapters"]
        }
        self._specials = special_tokens(base_files(results / "base" / self._base))

    def fault(self, url: str) -> str | None:
        """Check the server at `url`; return its first difference from the sentinel, or None."""
        # The sentinel is the reference here: it tells how far the server's answers may differ from evaluation's.
        how = CheckTerms(self._sentinel.get("max_new_tokens", MAX_TOKENS), differing=None)
        try:
            found = check(url, self._base, self._golden, self._specials, how)
        except BadInput as fault:
            return str(fault)
        for adapter in self._sentinel["adapters"]:
            answer = found[adapter["name"]]["answer"]
            if answer != adapter["answer"]:
                return f"adapter {adapter['name']}: answers {answer!r}, not {adapter['answer']!r} as the sentinel says"
        return None


def write_status(path: Path, fault: str | None, interval: float) -> None:
    """Write the status file; `interval` is the seconds until the next check."""
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(seconds=(1 + MISSED) * interval)
    status = {
        "ready": fault is None,
        "reason": fault,
        "checked_at": now.isoformat(timespec="milliseconds"),
        "good_until": until.isoformat(timespec="milliseconds"),
    }
    write_atomically(path, json.dumps(status, indent=2) + "\n")


def _golden_row(predictions: Path, adapter: dict[str, Any]) -> Row:
    """Return the golden prompt of one of the sentinel's adapters, as a row of its predictions."""
    row = next((row for row in read_jsonl(predictions) if row["id"] == adapter["prompt_id"]), None)
    if row is None:
        raise BadInput(f"{predictions}: has no record {adapter['prompt_id']}, which the sentinel names: run `make`")
    return row
