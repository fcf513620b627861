"""The pauses before an engine that ended is started again, by a clock that the test moves."""

import pytest

from adapter_build.serving.engine_supervisor import FIRST_PAUSE, LAST_PAUSE, LIMIT, STEADY, Backoff


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("lived", [None, 0.0, STEADY - 1])
def test_one_that_ends_at_once_again_and_again_is_given_up(lived: float | None) -> None:
    clock = Clock()
    restarts, pauses = Backoff(clock), []
    while (pause := restarts.pause()) is not None:
        pauses.append(pause)
        if lived is not None:
            restarts.serving()
            clock.now += lived
    assert len(pauses) == LIMIT
    assert pauses[0] == FIRST_PAUSE and pauses == sorted(pauses) and pauses[-1] <= LAST_PAUSE


def test_one_that_served_for_long_is_started_for_ever() -> None:
    clock = Clock()
    restarts = Backoff(clock)
    for _ in range(10 * LIMIT):
        restarts.serving()
        clock.now += STEADY
        assert restarts.pause() == FIRST_PAUSE
