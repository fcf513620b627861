"""Schema of an attestation, its envelope and a store's record: every field is checked before any is used."""

import re
from pathlib import PurePosixPath
from typing import Any

from adapter_build.core.document_shape import (
    LONGEST,
    Shape,
    check_document,
    each,
    flag,
    integer,
    mapping,
    null_or,
    only,
    pair,
    record,
    text,
)
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import Malformed, is_object

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:hermetic-step:v1"
LONGEST_ENVELOPE = 2**24  # bytes; the longest of the tiny chain has 58 thousand
UNPLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

DIGEST = text("[0-9a-f]{64}", "a sha256 in hexadecimal")
_H1 = text("h1:[A-Za-z0-9+/]{43}=", "an h1 digest")
_COMMIT = text("[0-9a-f]{40}|[0-9a-f]{64}", "a commit")
_WORDS = text("[^\x00]*", "a text", 2**20)
_LINE = text("[^\x00-\x1f\x7f]*", "a line of text")
_OPTION = text("[A-Za-z][A-Za-z0-9_-]{0,63}", "the name of an option")
_NAME = text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "a name")
_TIME = text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "a time in UTC, to the second")
_BASE64 = text("[A-Za-z0-9+/]*={0,2}", "base64", LONGEST_ENVELOPE)
_COUNT = integer(0, 2**20)


def output_path(value: Any) -> None:
    """Accept the path of a file that a step makes: below the checkout, and in normal form."""
    _path(value)
    if value.startswith(("/", "-", "~")) or ".." in PurePosixPath(value).parts:
        raise Malformed(f" is {shown(value)}, not a path below the checkout")


def _path(value: Any) -> None:
    """Accept the path of a file that a step reads: anywhere, and in normal form."""
    if type(value) is not str or not 0 < len(value) <= LONGEST or UNPLAIN.search(value):
        raise Malformed(f" is {shown(value)}, not a path")
    if value == "." or PurePosixPath(value).as_posix() != value:
        raise Malformed(f" is {shown(value)}, not a path that is written plainly")


def step_name(value: Any) -> None:
    """Accept the name of a step, which is also the path of its attestation."""
    output_path(value)
    if not all(part[0] not in ".-" for part in value.split("/")):
        raise Malformed(f" is {shown(value)}, not a step's name")


_SHA256 = record({"sha256": DIGEST})
_FACTS = mapping(text("[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}", "the name of a fact"), _LINE, 64)
_OUTPUTS = mapping(_OPTION, each(output_path), 1000)
_PARAMETERS = mapping(_OPTION, each(_WORDS), 1000)
_ACTION = record(
    {
        "version": integer(1, 3),
        "script": _NAME,
        "code": _H1,
        "lock": DIGEST,
        "inputs": mapping(_OPTION, each(pair(_path, DIGEST)), 1000),
        "outputs": _OUTPUTS,
        "params": _PARAMETERS,
        "threads": _COUNT,
        "device": _LINE,
    }
)
_RUN = record(
    {
        "runtime": _NAME,
        "isolation": _LINE,
        "imageId": null_or(_LINE),
        "host": _LINE,
        "user": _LINE,
        "slurmJob": null_or(_LINE),
    },
    {
        "cpu": _FACTS,
        "gpu": _FACTS,
        "noCommit": _LINE,
        "resumed": record({"step": integer(1, 2**53), "state": DIGEST, "signed": flag}),
    },
)
_REUSED = record({"invocationId": _LINE, "sha256": DIGEST})


def _byproduct(value: Any) -> None:
    """Accept the facts of a run, or the reference to the run whose outputs were restored."""
    reused = is_object(value) and value.get("name") == "reused"
    record({"name": only("run", "reused"), "annotations": _REUSED if reused else _RUN})(value)


def _dependency(value: Any) -> None:
    """Accept a file that a step was made of, the checkout's commit, or the image."""
    name = value.get("name") if is_object(value) else None
    _DEPENDENCIES.get(name if type(name) is str else "", _FILE)(value)


_PARTS = mapping(_LINE, text("[0-9a-f]{12}", "the beginning of a sha256"), 10_000)
_FILE = record({"name": _path, "digest": _SHA256}, {"annotations": record({"code": DIGEST}, {"parts": _PARTS})})
_DEPENDENCIES: dict[str, Shape] = {
    "checkout": record(
        {"name": _NAME, "digest": record({"gitCommit": _COMMIT}), "annotations": record({"altered": flag})}
    ),
    "image": record({"name": _NAME, "uri": text(r"docker://[^\x00-\x20\x7f]+", "an image"), "digest": _SHA256}),
}
_EXTERNAL = record(
    {
        "step": step_name,
        "script": _NAME,
        "inputs": mapping(_OPTION, each(_path), 1000),
        "outputs": _OUTPUTS,
        "parameters": _PARAMETERS,
    }
)
_DEFINITION = record(
    {
        "buildType": only(BUILD_TYPE),
        "externalParameters": _EXTERNAL,
        "internalParameters": record(
            {
                "actionKey": DIGEST,
                "action": _ACTION,
                "environment": _NAME,
                "threads": _COUNT,
                "devices": _COUNT,
                "network": flag,
                "onHost": flag,
            }
        ),
        "resolvedDependencies": each(_dependency),
    }
)
_DETAILS = record(
    {
        "builder": record({"id": _LINE}, {"version": mapping(_NAME, _LINE, 16)}),
        "metadata": record({"invocationId": _LINE, "startedOn": _TIME, "finishedOn": _TIME}),
        "byproducts": each(_byproduct, 1, 1000),
    }
)
_STATEMENT = record(
    {
        "_type": only(STATEMENT_TYPE),
        "subject": each(record({"name": output_path, "digest": _SHA256}), 1),
        "predicateType": only(PROVENANCE),
        "predicate": record({"buildDefinition": _DEFINITION, "runDetails": _DETAILS}),
    }
)
_ENVELOPE = record(
    {
        "payloadType": only(PAYLOAD_TYPE),
        "payload": _BASE64,
        "signatures": each(record({"sig": _BASE64}, {"keyid": _LINE}), 0, 16),
    }
)
_RECORD = record({"version": only(2), "outputs": mapping(_OPTION, each(DIGEST), 1000), "envelope": _ENVELOPE})


def check_envelope(document: Any) -> None:
    """Raise `Malformed` unless the document is a DSSE envelope of a statement."""
    check_document(_ENVELOPE, document, "its envelope")


def check_record(document: Any) -> None:
    """Raise `Malformed` unless the document is a record of a store."""
    check_document(_RECORD, document, "it")


def check_declaration(external: Any) -> None:
    """Raise `Malformed` for a declaration that no attestation can hold, such as a file with a newline in its name."""
    check_document(_EXTERNAL, external, "it")


def check_statement(document: Any) -> None:
    """Raise `Malformed` unless the document is a statement of a step, and its parts name the same files."""
    check_document(_STATEMENT, document, "its statement")
    definition = document["predicate"]["buildDefinition"]
    external, action = definition["externalParameters"], definition["internalParameters"]["action"]
    made = [item["name"] for item in document["subject"]]
    declared = [path for paths in external["outputs"].values() for path in paths]
    if len(set(made)) != len(made) or sorted(made) != sorted(declared) or action["outputs"] != external["outputs"]:
        raise Malformed("what it says was made is not what it declares as outputs")
    digests = {item["name"]: item["digest"].get("sha256") for item in definition["resolvedDependencies"]}
    if len(digests) != len(definition["resolvedDependencies"]):
        raise Malformed("it names a dependency twice")
    read = {option: [digests.get(path) for path in paths] for option, paths in external["inputs"].items()}
    if read != {option: [digest for _, digest in pairs] for option, pairs in action["inputs"].items()}:
        raise Malformed("what it says was read is not what its action declares")
    if [item["name"] for item in document["predicate"]["runDetails"]["byproducts"]].count("run") != 1:
        raise Malformed("it is not of one run")
