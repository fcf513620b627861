"""Tests of which some are skipped, for test_skipped.py."""

import pytest
from skipped import wanting


@pytest.mark.parametrize("program", [["dockerd-9", "no-such"], ["bwrap-9"], ["sh"]] * 3)
def test_with(program):
    if reason := wanting(*program):
        pytest.skip(reason)


@pytest.mark.skip(reason="left open")
def test_open():
    pass
