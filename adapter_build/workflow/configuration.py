"""The configuration of a build: config.yaml under its overlays, valid, every default filled in, every path expanded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.strict_json import is_object
from adapter_build.workflow.config_checks import check_settings
from adapter_build.workflow.config_schema import SCHEMA, fill
from adapter_build.workflow.settings_file import given_setting, read_settings

SPREAD = ("executor", "nodes", "shards")  # settings of `curate` that change no bytes


def check(config: dict[str, Any], lock_path: Path = Path("data.lock.yaml")) -> dict[str, Any]:
    """Fill in defaults and expand paths in place, and return the content of data.lock.yaml.

    Raises `BadInput` naming the key that is wrong.
    """
    fill(config, SCHEMA)
    lock = yaml.safe_load(lock_path.read_text())
    check_settings(config, lock)
    return lock


def read_config(*paths: Path) -> dict[str, Any]:
    """Return a configuration file under its overlays, checked, defaults filled in. Raises `BadInput`."""
    config = overlaid(*paths)
    check(config)
    return config


def overlaid(*paths: Path) -> dict[str, Any]:
    """Return a configuration file under its overlays, unchecked, without defaults. Raises `BadInput`."""
    config: dict[str, Any] = {}
    for path in paths:
        overlay(config, read_settings(path, SCHEMA))
    return config


def as_given(file: Path, overlays: Sequence[Path], entries: Sequence[str], *, alone: bool) -> dict[str, Any]:
    """Return the configuration that Snakemake was given, unchecked: a file, under --configfile, under --config.

    The file may be missing if there are overlays; with `alone` it is not read at all. Raises `BadInput`.
    """
    files = overlays if alone or (overlays and not file.exists()) else [file, *overlays]
    config = overlaid(*files)
    for entry in entries:
        overlay(config, given_setting(entry, SCHEMA))
    return config


def section(name: str, path: Path) -> dict[str, Any]:
    """Return one section of a configuration file, defaults filled in; the defaults alone where there is no such file.

    No other section is checked: a build can be audited where it could not be made. Raises `BadInput`.
    """
    found = overlaid(path) if path.is_file() else {}
    config = {name: found[name]} if name in found else {}
    fill(config, {"properties": {name: SCHEMA["properties"][name]}})
    return config[name]


def overlay(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Merge an overlay into `config`, key by key; null removes a key, so that its default applies.

    An overlay with an adapter of its own builds the adapters that it names and no other: those of `config` that it does
    not name are removed.
    """
    brought, known = changes.get("adapters"), config.get("adapters")
    if is_object(brought) and is_object(known):
        own = [name for name, adapter in brought.items() if name not in known and adapter is not None]
        config["adapters"] = {name: adapter for name, adapter in known.items() if name in brought or not own}
    _merge(config, changes)


def _merge(config: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if is_object(value):
            before = config.get(key)
            config[key] = before if is_object(before) else {}  # a new one: aliases in YAML share theirs
            _merge(config[key], value)
        elif value is None and key in config:
            del config[key]
        else:
            config[key] = value


def of_the_result(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a checked configuration that decides the result, not merely where and how it is made.

    An adapter has its prompt alone: the settings that it was tuned with are in its checkpoint (`tuned_settings`).
    """
    kept = {
        key: config[key] for key in config if key not in ("runtime", "isolation", "store", "signing", "local_steps")
    }
    curate = {key: value for key, value in config["curate"].items() if key not in SPREAD}
    adapters = {name: {"prompt": adapter["prompt"]} for name, adapter in config["adapters"].items()}
    return {**kept, "curate": curate, "adapters": adapters}


def engine_of(config: dict[str, Any]) -> str:
    """Return the engine that serves the adapters: embedded, or nim- with its version."""
    deploy = config["deploy"]
    return f"nim-{deploy['nim']['version']}" if deploy["engine"] == "nim" else deploy["engine"]
