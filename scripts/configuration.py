"""The configuration: checked against its schema before any step runs, every default filled in."""

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from curated_files import curated_files
from faults import BadInput
from hermetic.keys import OWN
from json_object import given_object
from llama_shape import check_lengths
from tuning_backend import check_backend

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.json"
# The same bytes come out, whatever these are.
SPREAD = {"curate": ("executor", "nodes", "shards"), "adapters": ("checkpoint_interval",)}


def check(config: dict[str, Any], lock_path: Path = Path("data.lock.yaml")) -> dict[str, Any]:
    """Fill in defaults in place and return what data.lock.yaml says. Raises `BadInput` naming the key that is wrong."""
    _fill(config, json.loads(SCHEMA.read_text()))
    lock = yaml.safe_load(lock_path.read_text())
    for key, path in _files(config):
        if not Path(path).exists():
            raise BadInput(f"config: {key}: {path}: no such file or folder")
    _check_entry("base.name", config["base"]["name"], {} if config["base"]["path"] else lock["bases"])
    if config["data"]["source"] == "huggingface":
        _check_entry("data.dataset", config["data"]["dataset"], lock["datasets"])
    if config["curate"]["min_words"] > config["curate"]["max_words"]:
        raise BadInput("config: curate.min_words is greater than curate.max_words: no record could pass")
    if config["curate"]["nodes"] > 1 and config["curate"]["executor"] != "ray":
        raise BadInput("config: curate.nodes: more than one node needs curate.executor: ray")
    _check_adapters(config)
    _check_lengths(config)
    check_backend(config)
    return lock


def read_config(*paths: Path) -> dict[str, Any]:
    """Return a configuration file's content under that of its overlays, checked, defaults filled in; or `BadInput`."""
    config = overlaid(*paths)
    check(config)
    return config


def overlaid(*paths: Path) -> dict[str, Any]:
    """Return a configuration file's content under that of its overlays, as it stands there. Raises `BadInput`."""
    config: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise BadInput(f"{path}: cannot be read ({error})") from None
        if not isinstance(content, dict):
            raise BadInput(f"{path}: cannot be read (expected names and values, found {type(content).__name__})")
        overlay(config, content)
    return config


def section(name: str, path: Path) -> dict[str, Any]:
    """Return one section of a configuration file, defaults filled in; the defaults alone where there is no such file.

    Nothing else of it is checked: a build can be asked what it is where it could not be made. Raises `BadInput`.
    """
    found = overlaid(path) if path.is_file() else {}
    config = {name: found[name]} if name in found else {}
    _fill(config, {"properties": {name: json.loads(SCHEMA.read_text())["properties"][name]}})
    return config[name]


def overlay(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put the keys of an overlay into `config`, one by one, as Snakemake does."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            overlay(config[key], value)
        else:
            config[key] = value


def of_the_result(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a checked configuration decides the result, and not merely where and how it is made."""
    kept = {key: config[key] for key in config if key not in ("runtime", "store", "signing", "local_steps")}
    adapters = {name: _without(adapter, SPREAD["adapters"]) for name, adapter in config["adapters"].items()}
    return {**kept, "curate": _without(config["curate"], SPREAD["curate"]), "adapters": adapters}


def _without(settings: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def _check_adapters(config: dict[str, Any]) -> None:
    for name, adapter in config["adapters"].items():
        where = f"config: adapters.{name}"
        if name == config["base"]["name"]:
            raise BadInput(f"{where}: has the base's own name, which a server refuses: rename the adapter")
        if adapter["rank"] > config["deploy"]["max_rank"]:
            raise BadInput(f"{where}.rank: {adapter['rank']} is more than deploy.max_rank: lower it or raise that")
        if adapter["global_batch_size"] % (adapter["micro_batch_size"] * config["nodes"]):
            raise BadInput(f"{where}.global_batch_size: must be a multiple of micro_batch_size times nodes")


def _check_lengths(config: dict[str, Any]) -> None:
    """Refuse lengths beyond the positions of one's own base; those of another are known when it is acquired."""
    if config["base"]["path"]:
        where = Path(config["base"]["path"]) / "config.json"
        lengths = {
            f"adapters.{name}.sequence_length": adapter["sequence_length"]
            for name, adapter in config["adapters"].items()
        }
        content = given_object(where, "give the base's own")
        try:
            check_lengths(content, where, lengths, config["evaluate"]["max_new_tokens"])
        except BadInput as fault:
            raise BadInput(f"config: {fault}") from None


def engine_of(config: dict[str, Any]) -> str:
    """Return the engine that serves the adapters, as adapter_checks.ENGINES name it."""
    deploy = config["deploy"]
    return f"nim-{deploy['nim']['version']}" if deploy["engine"] == "nim" else deploy["engine"]


def _files(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and path of every file that the configuration names."""
    data = config["data"]
    if data["source"] == "file":
        yield "data.path", data["path"]
    if data["source"] == "curated":
        yield from (("data.path", path) for path in curated_files(data["path"]))
    if config["base"]["path"]:
        yield "base.path", f"{config['base']['path']}/config.json"
    if config["base"]["nemo"]:
        yield "base.nemo", config["base"]["nemo"]
    for name, adapter in config["adapters"].items():
        yield f"adapters.{name}.prompt", adapter["prompt"]
    if config["signing"]["key"] not in ("", str(OWN)):
        yield "signing.key", config["signing"]["key"]
    for key in ("certificates", "trusted"):
        yield from ((f"signing.{key}", path) for path in config["signing"][key])


def _fill(config: dict[str, Any], schema: dict[str, Any]) -> None:
    errors = sorted(_filling(schema).iter_errors(config), key=lambda error: list(error.path))
    if errors:
        raise BadInput(_explain(errors[0]))


def _check_entry(key: str, name: str, entries: dict[str, Any]) -> None:
    if entries and name not in entries:
        raise BadInput(f"config: {key}: data.lock.yaml has no {name!r}{did_you_mean(name, entries)}")


def _explain(error: ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    prefix = f"config: {where}: " if where else "config: "
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{prefix}unknown key {unknown!r}{did_you_mean(str(unknown), known)}"
    if error.validator == "type":
        return f"{prefix}expected {error.validator_value}, found {error.instance!r}"
    if error.validator == "enum":
        choices = ", ".join(map(str, error.validator_value))
        return (
            f"{prefix}{error.instance!r} is none of: {choices}{did_you_mean(str(error.instance), choices.split(', '))}"
        )
    return f"{prefix}{error.message}"


def did_you_mean(word: str, known: Any) -> str:
    """Return the end of a complaint about an unknown word: the closest that is known, or all that are."""
    close = difflib.get_close_matches(word, list(map(str, known)), n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(map(str, known))})"


def _filling(schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator that also fills in defaults, as the jsonschema manual shows."""
    check_properties = Draft202012Validator.VALIDATORS["properties"]

    def properties(validator: Any, known: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "object"):
            for name, subschema in known.items():
                if "default" in subschema:
                    instance.setdefault(name, json.loads(json.dumps(subschema["default"])))
        yield from check_properties(validator, known, instance, schema)

    return validators.extend(Draft202012Validator, {"properties": properties})(schema)
