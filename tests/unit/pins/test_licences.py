"""containers/licences.yaml has what the metadata of every locked version states, and nothing else."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

from adapter_build.audit.export_cyclonedx import packages
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.pins.advisories import read_locks
from adapter_build.pins.licences import BUNDLED, licences

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def listed():
    return yaml.load((ROOT / "containers/licences.yaml").read_text(), yaml.CBaseLoader)


@pytest.fixture(scope="module")
def locks():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return read_locks()


def test_every_locked_version_has_an_entry_and_no_other(listed, locks):
    assert {(name, version) for packages in locks.values() for name, version in packages.items()} == {
        (name, version) for name, versions in listed["packages"].items() for version in versions
    }
    assert listed["bundled"] == BUNDLED


@pytest.mark.parametrize("environment", ["workflow", "curate", "tune", "serve", "checks"])
def test_the_entries_are_what_installed_packages_state(listed, locks, environment):
    folder = ROOT / ".venvs" / environment / "lib/python3.11/site-packages"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: .venvs/workflow/bin/snakemake --cores 2 environments makes it")
    installed = {
        (re.sub(r"[-_.]+", "-", one.name).lower(), one.version): licences(one.metadata.json)
        for one in distributions(path=[str(folder)])
    }  # fmt: skip
    pinned = [pair for pair in locks[environment].items() if pair in installed]
    assert len(pinned) > 100
    assert {pair: installed[pair] for pair in pinned} == {
        (name, version): listed["packages"][name][version] for name, version in pinned
    }


@pytest.mark.parametrize(
    ("metadata", "stated"),
    [
        ({"license_expression": "MIT OR Apache-2.0", "license": "x"}, ["MIT OR Apache-2.0"]),
        ({"license": "mit"}, ["MIT"]),
        ({"license": "BSD", "classifier": ["License :: OSI Approved :: BSD License"]}, ["BSD License"]),
        ({"license": "The EULA of X", "classifier": ["License :: Other/Proprietary License"]}, ["The EULA of X"]),
        ({"license": "MIT License\n\nCopyright (c) 2022"}, ["MIT License"]),
        ({"license": "Permission is hereby granted " * 9}, []),
        ({"license": "UNKNOWN"}, []),
        ({"classifier": ["License :: A", "License :: OSI Approved :: B", "Topic :: C"]}, ["A", "B"]),
        ({}, []),
    ],
)
def test_what_metadata_states(metadata, stated):
    assert licences(metadata) == stated


def test_a_lock_that_is_another_than_was_built_with_lists_nothing():
    lock = "containers/curate/requirements.lock"
    assert packages(lock, "0" * 64) == [] and packages("containers/gone/requirements.lock", "0" * 64) == []
    assert len(packages(lock, file_digest(ROOT / lock))) > 100


def test_a_version_without_an_entry_is_named(tmp_path, monkeypatch):
    (tmp_path / "containers/tune").mkdir(parents=True)
    (tmp_path / "containers/licences.yaml").write_text("packages: {}\nbundled: {}\n")
    lock = tmp_path / "containers/tune/requirements.lock"
    lock.write_text("torch==9.9 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr("adapter_build.audit.export_cyclonedx.LISTED", tmp_path / "containers/licences.yaml")
    with pytest.raises(BadInput, match=r"torch 9\.9 of containers/tune/requirements\.lock is missing: run make lock"):
        packages("containers/tune/requirements.lock", file_digest(lock))
