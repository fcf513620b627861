"""Every reader of others' documents, on 100,000 odd shapes each: it takes one, or refuses it in one line."""

import json

import pytest
from document_shapes import OF_A_BASE, Reader, outcomes, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SEEDS, SHAPES = 100, 1000
NAMES = ("attestation", "envelope", "record", "safetensors", "peft", "ready", *OF_A_BASE)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """The readers by name."""
    return readers(tmp_path_factory.mktemp("shapes"))


def test_every_reader_is_tried_and_takes_a_sound_document(every: dict[str, Reader]) -> None:
    assert sorted(every) == sorted(NAMES)
    for reader in every.values():
        reader.read(reader.written(json.dumps(reader.sample).encode()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, deadline=None, max_examples=SEEDS, suppress_health_check=list(HealthCheck), database=None)
@given(seed=st.integers(0, 2**48))
def test_an_odd_shape_is_taken_or_refused_in_one_line(every: dict[str, Reader], name: str, seed: int) -> None:
    """A base's documents have one reader, and share its shapes."""
    shapes = SHAPES // len(OF_A_BASE) if name in OF_A_BASE else SHAPES
    found = outcomes(every[name], seed, shapes)
    assert found["refused"] and sum(found.values()) == shapes
