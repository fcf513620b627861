"""The pinned loss curve's comparison: what is apart by more than a ten-thousandth is refused, and so is what lacks."""

import pytest
from pinned_losses import LOSSES, misfits, pinned


def test_the_pinned_curve_is_whole_and_falls() -> None:
    rows = pinned()
    assert [row["step"] for row in rows if "train_loss" in row] == list(range(1, 41))
    checks = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert list(checks) == [20, 40] and checks[40] < checks[20]
    assert misfits(rows, rows) == []


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("factor", [1.001, 0.999, float("nan")])
def test_one_loss_that_is_another_is_refused(name: str, factor: float) -> None:
    rows = pinned()
    place = max(number for number, row in enumerate(rows) if name in row)
    other = [{**row, name: row[name] * factor} if number == place else row for number, row in enumerate(rows)]
    found = misfits(other, rows)
    assert len(found) == 1 and f"{name} of step {rows[place]['step']}: " in found[0]
    near = [{**row, name: row[name] * 1.00005} if name in row else row for row in rows]
    assert misfits(near, rows) == []


def test_a_curve_that_lacks_a_loss_or_has_one_more_is_refused() -> None:
    rows = pinned()
    assert misfits(rows[:-1], rows) == [f"{LOSSES[1]} of step 40: in one curve alone"]
    assert misfits(rows, rows[:-1]) == [f"{LOSSES[1]} of step 40: in one curve alone"]
