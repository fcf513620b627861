"""The checks against a server that answers what a test says: its base may change; it tells no tokens, as NIM 1.x."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from loopback_server import Quiet, serving

from adapter_build.core.faults import BadInput
from adapter_build.serving.deployment_checks import CheckTerms, check, served_length

SPECIALS = {"<|end|>": 2}
ROWS = [{"id": str(n), "input": f"why {n}?", "base": f"base {n}", "adapter": f"law {n}"} for n in range(8)]


class Told(Quiet):
    """A server of a base and an adapter; `said` holds what is answered other than evaluation's answers."""

    said: dict[tuple[str, str], list[str]]
    length: Any
    together: int
    running: int
    lock = threading.Lock()

    def do_GET(self) -> None:
        """Health and models."""
        data = [{"id": "tiny", "max_model_len": self.length}, {"id": "law", "parent": "tiny"}]
        self.answer(200, {"data": data})

    def do_POST(self) -> None:
        """One completion; a body with a key that it does not know is refused."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "return_token_ids" in body:
            return self.answer(400, {"message": "return_token_ids: Extra inputs are not permitted"})
        with self.lock:
            type(self).running += 1
            type(self).together = max(self.together, self.running)
            row = next(row for row in ROWS if row["input"] == body["prompt"])
            texts = self.said.get((body["model"], row["id"]), [])
            text = texts.pop(0) if texts else row["base" if body["model"] == "tiny" else "adapter"]
        time.sleep(0.02)
        with self.lock:
            type(self).running -= 1
        return self.answer(200, {"choices": [{"text": f" {text}\nand more", "finish_reason": "length"}]})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Answer in JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def told() -> Iterator[Any]:
    """Start the server; `told.said` and `told.length` are the test's to change."""
    handler: Any = type("Handler", (Told,), {"said": {}, "length": 4096, "together": 0, "running": 0})
    with serving(handler) as server:
        handler.url = f"http://127.0.0.1:{server.server_port}"
        yield handler


def found(told: Any, **how: Any) -> dict[str, Any]:
    """Check the server on all rows."""
    return check(told.url, "tiny", {"law": ROWS}, SPECIALS, CheckTerms(**how))["law"]


def test_first_lines_are_compared_eight_at_a_time(told: Any) -> None:
    """Evaluation keeps an answer's first line."""
    one_by_one = found(told)
    assert (one_by_one["compared_answers"], one_by_one["equals_evaluation"], told.together) == (16, True, 1)
    assert found(told, at_once=8) == one_by_one and told.together > 1


@pytest.mark.parametrize("at_once", [1, 8])
def test_as_many_as_are_allowed_may_differ(told: Any, at_once: int) -> None:
    wrong = {("law", "3"): ["law three"], ("tiny", "5"): ["base five", "base five"]}
    told.said = {key: list(texts) for key, texts in wrong.items()}
    assert found(told, differing=2, at_once=at_once)["differing_answers"] == 2
    told.said = {key: list(texts) for key, texts in wrong.items()}
    with pytest.raises(
        BadInput, match=r"2 of 16 answers .* 1 may be: law to prompt 3: served 'law three', evaluated 'law 3'"
    ):
        found(told, differing=1, at_once=at_once)


def test_a_long_answer_is_shown_where_it_differs(told: Any) -> None:
    told.said = {("law", "3"): ["law " * 100 + "end"]}
    with pytest.raises(BadInput) as fault:
        found(told)
    assert len(str(fault.value)) < 600 and "served 'law law" in str(fault.value)


def test_a_base_that_an_adapter_changed_fails(told: Any) -> None:
    """One answer counts as one that differs; the golden one, an empty one or one too many is a poisoned base."""
    told.said = {("tiny", "5"): ["base 5", "base five"]}
    assert found(told, differing=1)["differing_answers"] == 1
    for said, allowed in (
        ({("tiny", "5"): ["base 5", "base five"]}, 0),
        ({("tiny", "0"): ["base 0", "base zero"]}, 8),
        ({("tiny", number): [f"base {number}", "other"] for number in "567"}, 2),
    ):
        told.said = said
        with pytest.raises(BadInput, match=r"after it was asked, base tiny answered prompt .*may hold NaN"):
            found(told, differing=allowed)


def test_a_special_token_that_a_post_speaks_of_may_be_answered(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told.said = {("law", "3"): ["law <|end|>"]}
    with pytest.raises(BadInput, match=r"its answer to prompt 3 runs on past <\|end\|>"):
        found(told, differing=1)
    monkeypatch.setitem(ROWS[3], "input", "why <|end|> 3?")
    told.said = {("law", "3"): ["law <|end|>"]}
    assert found(told, differing=1)["differing_answers"] == 1


@pytest.mark.parametrize(("said", "length"), [(4096, 4096), (None, None), ("4096", None), (0, None), (True, None)])
def test_a_server_may_tell_its_length(told: Any, said: Any, length: int | None) -> None:
    told.length = said
    assert served_length(told.url, "tiny") == length
    assert served_length(told.url, "absent") is None
