"""The configuration: checked against its schema before any step runs, every default filled in, every path expanded.

    python -m adapter_build.workflow.configuration config.yaml OVERLAY…

says only whether these files can be read: Snakemake does not name the one that it cannot read.
"""

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from adapter_build import ROOT
from adapter_build.core.faults import BadInput, run
from adapter_build.core.strict_json import given_object
from adapter_build.hermetic.keys import OWN
from adapter_build.models.adapter_settings import odd_scale
from adapter_build.models.llama_shape import check_lengths
from adapter_build.records.splits import finished_files
from adapter_build.workflow.finished_values import finish
from adapter_build.workflow.settings_file import given_setting, kind, number, read_settings
from adapter_build.workflow.tuning_backend import check_backend

SCHEMA = json.loads((ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8"))
SPREAD = ("executor", "nodes", "shards")  # of `curate`: the same bytes come out, whatever these are


def check(config: dict[str, Any], lock_path: Path = Path("data.lock.yaml")) -> dict[str, Any]:
    """Fill in defaults and expand paths in place, and return what data.lock.yaml says.

    Raises `BadInput` naming the key that is wrong.
    """
    fill(config, SCHEMA)
    lock = yaml.safe_load(lock_path.read_text())
    for key, path in _files(config):
        if ":" in path and key in ("signing.certificates", "signing.trusted"):
            raise BadInput(f"config: {key}: {path}: a colon divides one such file from the next: rename it")
        if not Path(path).exists():
            raise BadInput(f"config: {key}: {path}: no such file or folder")
    if (config["base"]["model"] or Path(config["base"]["path"]).name).startswith("-"):
        raise BadInput("config: base.model: a name that begins with - is an option's: set the base's true name")
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
        overlay(config, read_settings(path, SCHEMA))
    return config


def as_given(file: Path, overlays: Sequence[Path], entries: Sequence[str], *, alone: bool) -> dict[str, Any]:
    """Return what Snakemake was given, read as `overlaid` reads it: a file, --configfile, then --config.

    Where there are overlays the file may be missing; with `alone` it is not read at all. Raises `BadInput`.
    """
    files = overlays if alone or (overlays and not file.exists()) else [file, *overlays]
    config = overlaid(*files)
    for entry in entries:
        overlay(config, given_setting(entry, SCHEMA))
    return config


def section(name: str, path: Path) -> dict[str, Any]:
    """Return one section of a configuration file, defaults filled in; the defaults alone where there is no such file.

    Nothing else of it is checked: a build can be asked what it is where it could not be made. Raises `BadInput`.
    """
    found = overlaid(path) if path.is_file() else {}
    config = {name: found[name]} if name in found else {}
    fill(config, {"properties": {name: SCHEMA["properties"][name]}})
    return config[name]


def overlay(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put the keys of an overlay into `config`, one by one; null takes a key out again, so that its default counts.

    An overlay that brings an adapter of its own builds what it names and no other: adapters that stand in `config` and
    that it does not name go.
    """
    brought, known = changes.get("adapters"), config.get("adapters")
    if isinstance(brought, dict) and isinstance(known, dict):
        own = [name for name, adapter in brought.items() if name not in known and adapter is not None]
        config["adapters"] = {name: adapter for name, adapter in known.items() if name in brought or not own}
    _merge(config, changes)


def _merge(config: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            before = config.get(key)
            config[key] = before if isinstance(before, dict) else {}  # one of its own: YAML's aliases share theirs
            _merge(config[key], value)
        elif value is None and key in config:
            del config[key]
        else:
            config[key] = value


def of_the_result(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a checked configuration decides the result, and not merely where and how it is made.

    Of an adapter its prompt alone: the settings that it was tuned with are in its checkpoint (tuned_settings.py).
    """
    kept = {
        key: config[key] for key in config if key not in ("runtime", "isolation", "store", "signing", "local_steps")
    }
    curate = {key: value for key, value in config["curate"].items() if key not in SPREAD}
    adapters = {name: {"prompt": adapter["prompt"]} for name, adapter in config["adapters"].items()}
    return {**kept, "curate": curate, "adapters": adapters}


def _check_adapters(config: dict[str, Any]) -> None:
    for name, adapter in config["adapters"].items():
        where = f"config: adapters.{name}"
        if name == config["base"]["name"]:
            raise BadInput(f"{where}: has the base's own name, which a server refuses: rename the adapter")
        if adapter["rank"] > config["deploy"]["max_rank"]:
            raise BadInput(f"{where}.rank: {adapter['rank']} is more than deploy.max_rank: lower it or raise that")
        if fault := odd_scale({"lora_alpha": adapter["alpha"], "r": adapter["rank"]}):
            raise BadInput(f"{where}.alpha: {fault}: set it to once or twice the rank")
        if adapter["global_batch_size"] % (adapter["micro_batch_size"] * config["nodes"]):
            raise BadInput(f"{where}.global_batch_size: must be a multiple of micro_batch_size times nodes")


def _check_lengths(config: dict[str, Any]) -> None:
    """Refuse lengths beyond the positions of one's own base; those of another are known when it is acquired."""
    context, answer = config["deploy"]["embedded"]["context_length"], config["evaluate"]["max_new_tokens"]
    if config["deploy"]["engine"] == "embedded" and answer >= context:
        raise BadInput(
            f"config: evaluate.max_new_tokens is {answer}, which leaves no room for a prompt in "
            f"deploy.embedded.context_length ({context}): lower it or raise that"
        )
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
        yield from (("data.path", path) for path in finished_files(data["path"]))
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


def fill(config: dict[str, Any], schema: dict[str, Any]) -> None:
    """Fill in the defaults of a schema in place, values in their final form. Raises `BadInput` naming the key."""
    _unset(config, schema, ())
    errors = sorted(_filling(schema).iter_errors(config), key=lambda error: [str(part) for part in error.path])
    if errors:
        raise BadInput(" ".join(_explain(errors[0]).split()))
    finish(config, schema)


def _unset(config: dict[str, Any], schema: dict[str, Any], where: tuple[str, ...]) -> None:
    """Take out the keys that are null. Raises `BadInput` for a name that is no text, and where null drops nothing."""
    for key, value in list(config.items()):
        place = ".".join([*where, str(key)])
        if not isinstance(key, str):
            raise BadInput(f"config: {place}: a name is text, found {key!r}: write it in quotes")
        known = schema.get("properties", {})
        inner = known.get(key, schema.get("additionalProperties") or {})
        if value is None and key in known:
            del config[key]
        elif value is None and inner:
            others = [name for name, other in config.items() if other is not None]
            raise BadInput(f"config: {place}: null drops one that a file before this names{did_you_mean(key, others)}")
        elif isinstance(value, dict):
            _unset(value, inner, (*where, key))


def _check_entry(key: str, name: str, entries: dict[str, Any]) -> None:
    if entries and name not in entries:
        raise BadInput(f"config: {key}: data.lock.yaml has no {name!r}{did_you_mean(name, entries)}")


def _explain(error: ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    prefix = f"config: {where}: " if where else "config: "
    value = error.instance
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in value if key not in known)
        return f"{prefix}unknown key {unknown!r}{did_you_mean(str(unknown), known)}"
    if error.validator == "type":
        wanted = kind(error.schema)
        return f"{prefix}expected {_KINDS.get(wanted, wanted)}, {_found(error)}"
    if error.validator == "enum":
        choices = ", ".join(map(str, error.validator_value))
        if not isinstance(value, str) or kind(error.schema) == "integer":
            return f"{prefix}expected one of {choices}, {_found(error)}"
        close = did_you_mean(value, choices.split(", ")).partition(" (known: ")[0]
        return f"{prefix}{value!r} is none of: {choices}{close}"
    if error.validator == "required" and where.startswith("adapters."):
        return (
            f"{prefix}has no prompt, which an adapter needs that no file before this one has: set it, or name another"
        )
    if error.validator == "minProperties":
        return f"{prefix}none is left: name one"
    return f"{prefix}{error.message}"


_KINDS = {"object": "names and values", "array": "a list", "boolean": "true or false"}


def _found(error: ValidationError) -> str:
    """Say what stands in place of a value of the wanted type, and how to write that."""
    value, wanted = error.instance, kind(error.schema)
    found = "found " + (
        "nothing (null)" if value is None else str(value).lower() if value in (True, False) else repr(value)
    )
    if isinstance(value, bool) and wanted == "string":
        words = "yes, on or true" if value else "no, off or false"
        return f"{found}, which is how YAML reads {words}: write a word in quotes"
    if wanted == "string" and not isinstance(value, dict | list | type(None)):
        return f"{found}: write it in quotes"
    if wanted == "array":
        return f"{found}: write [{value}]" if isinstance(value, str | int | float) else found
    if wanted not in ("integer", "number") or not isinstance(value, str):
        return found
    meant = number(value)
    if meant is None:
        mends = {"0": "in decimal digits, without a leading 0", "_": "without _", ":": "without :", ",": "without ,"}
        odd = next(
            (sign for sign in ("_", ":", ",") if sign in value), "0" if value.lstrip("+-").startswith("0") else ""
        )
        return f"{found}: write it {mends[odd]}" if odd and any(map(str.isdigit, value)) else found
    if wanted == "integer" and not float(meant).is_integer():
        return f"{found}: write a whole number"
    return f"{found}: write {_in_yaml(meant)}"


def _in_yaml(value: float) -> str:
    """Return a number as YAML 1.1 reads it: with a point where there is an exponent."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


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


def main() -> None:
    """Read the files of the command line."""
    overlaid(*map(Path, sys.argv[1:]))


if __name__ == "__main__":
    run(main)
