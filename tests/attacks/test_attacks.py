"""The table of attacks and the modules that make them say the same names."""

import importlib

import pytest
import yaml
from attack_table import TABLE, attacks

AREAS = list(yaml.safe_load(TABLE.read_text()))


@pytest.mark.parametrize("area", AREAS)
def test_every_row_has_its_maker_and_every_maker_its_row(area: str):
    """A row without a maker would be a promise that nobody tries."""
    rows = [attack.name for attack in attacks(area)]
    made = importlib.import_module(f"test_attacks_{area}").MADE if rows else {}
    assert sorted(made) == sorted(rows)
