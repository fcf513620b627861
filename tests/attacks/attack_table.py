"""Read the table of attacks: what is tried, and the line that must answer it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

TABLE = Path(__file__).with_name("attacks.yaml")


@dataclass(frozen=True)
class Attack:
    """One row: its name, which a maker in its area's module answers to, and the line that must be said (a regex)."""

    name: str
    what: str
    says: str


def attacks(area: str) -> list[Attack]:
    """Return the rows of an area in their order."""
    return [Attack(name, **row) for name, row in (yaml.safe_load(TABLE.read_text())[area] or {}).items()]


def every(area: str) -> pytest.MarkDecorator:
    """Return a parametrization over an area's rows: a test takes `attack`."""
    return pytest.mark.parametrize("attack", attacks(area), ids=lambda attack: attack.name)
