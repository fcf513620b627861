"""An engine that answers wrong says so and ends: a real vLLM, with an adapter put in past every check."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import adapter_config, adapter_tensors, poisoned, write_adapter, write_base
from hypothesis import given, settings
from hypothesis import strategies as st
from running_server import PROMPT

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import listening
from adapter_build.hermetic.environments import interpreter
from adapter_build.serving import embedded_engine, engine_command
from adapter_build.serving.canary import CHANGED, MARGIN, NO_NUMBER, Answer, difference
from adapter_build.serving.embedded_engine import EngineEnded, Server
from adapter_build.serving.inference_client import complete, get

TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=3)
MARGINS = st.floats(0, 1) | st.sampled_from([MARGIN, math.nan, math.inf])


@given(tokens=TOKENS, others=TOKENS, margins=st.lists(MARGINS, min_size=3, max_size=3))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_a_canary_counts_the_tokens_before_a_near_thing(tokens: list[int], others: list[int], margins: list[float]):
    expected = Answer((1,), tuple(tokens), tuple(margins[: len(tokens)]))
    near = next((n for n, margin in enumerate(expected.margins) if margin < MARGIN), len(tokens))
    assert expected.firm == tuple(tokens[:near])
    same = difference(expected, Answer((1,), tuple(others), (1.0,) * len(others)))
    assert same == (None if others[:near] == tokens[:near] else CHANGED)
    assert difference(expected, Answer((1,), tuple(others), (math.nan,))) == NO_NUMBER


@contextlib.contextmanager
def watched(root: Path, adapters: dict[str, Path]) -> Iterator[Server]:
    """Start an engine as make serve does, on adapters that nobody checked."""
    files = write_base(root / "base")
    with contextlib.closing(listening(0)) as listener, embedded_engine.serving(
        "tiny", files, adapters, port=0, threads=1, timeout=300, python=interpreter("serve"), max_rank=8,
        listener=listener, log=root / "log",
    ) as server:  # fmt: skip
        yield server


def ended(server: Server) -> str:
    """Return why an engine ends, within seconds."""
    with pytest.raises(EngineEnded) as fault:
        server.wait(20)
        raise AssertionError("it did not end")
    return str(fault.value)


@pytest.mark.parametrize("counted", ["1", "0"])
@pytest.mark.engine
@pytest.mark.slow
def test_a_poisoned_engine_is_not_ready_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: str) -> None:
    """By NaN that vLLM counts; without that, by the canary that empty answers bring about."""
    environment = engine_command.environment
    changed = {"VLLM_COMPUTE_NANS_IN_LOGITS": counted}
    monkeypatch.setattr(embedded_engine, "environment", lambda *where: {**environment(*where), **changed})
    write_adapter(tmp_path / "poison", tensors=poisoned())
    with watched(tmp_path, {"poison": tmp_path / "poison"}) as server:
        assert get(server.url, "/v1/health/ready")[0] == 503
        server.open()
        assert get(server.url, "/v1/health/ready")[0] == 200 and complete(server.url, "tiny", PROMPT).text
        told: list[Any] = []
        asking = threading.Thread(target=lambda: told.extend(until_not_ready(server)))
        asking.start()
        reason = ended(server)
        asking.join()
    assert ("NaN" if counted == "1" else "canary") in reason
    assert told[-1][0] == 503 and reason.removeprefix("the embedded engine: ") in str(told[-1][1])


def until_not_ready(server: Server) -> Iterator[tuple[int, Any]]:
    """Ask the poisoned adapter and the base until the server says that it is not ready; yield what it says."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(BadInput):  # 503, and then nobody
            complete(server.url, "poison", PROMPT, 2)
            complete(server.url, "tiny", PROMPT, 2)
        status = get(server.url, "/v1/health/ready")
        yield status
        if status[0] == 503:
            return
        time.sleep(0.1)


@pytest.mark.engine
@pytest.mark.slow
def test_an_adapter_that_poisons_gets_no_name(tmp_path: Path) -> None:
    """Its scale is out of every proportion, and no check has seen it."""
    write_adapter(tmp_path / "poison", adapter_config(lora_alpha=1e30), adapter_tensors())
    write_adapter(tmp_path / "law")
    with watched(tmp_path, {}) as server:
        assert server.serve("law", tmp_path / "law") is None
        refused = server.serve("poison", tmp_path / "poison")
        assert refused and "canary's answer" in refused
        assert f"adapter poison: {refused}" in ended(server)
