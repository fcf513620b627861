"""audit export: other projects' own tools take what it writes and refuse it when spoilt; every digest is in it.

OpenLineage's package ships no schema: there its own classes, which check what they are given, and a real server do.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import openlineage.client.facet_v2 as facets
import pytest
import rocrate
from conftest import ROOT
from loopback_server import Quiet, serving
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from test_audit import audit

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.lineage.attested_steps import chain, producers, read_lineage
from adapter_build.pins.advisories import PINNED

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow
CHECKS = ROOT / ".venvs/checks/bin"
ADAPTER = "law-titlegen"
WEIGHTS = f"results/loras/{ADAPTER}/adapter_model.safetensors"
# The validator asks for RO-Crate's context by its address; rocrate ships that of 1.3, which renames four terms of 1.1.


@pytest.fixture(scope="module")
def steps(built):
    return chain(read_lineage(built.folder / "results"), ADAPTER)


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory):
    """A folder in which every format lies."""
    folder = tmp_path_factory.mktemp("exported")
    for form, name in (("ro-crate", "crate"), ("openlineage", "events.jsonl"), ("cyclonedx", "bom.json")):
        audit(built, "export", ADAPTER, f"--{form}", str(folder / name))
    return folder


def test_the_same_build_exports_the_same_bytes(built, exported, tmp_path):
    for form, name in (("ro-crate", "crate"), ("openlineage", "events.jsonl"), ("cyclonedx", "bom.json")):
        audit(built, "export", ADAPTER, f"--{form}", str(tmp_path / name))
    subprocess.run(["diff", "-r", exported, tmp_path], check=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "http"
    context = Path(rocrate.__file__).with_name("data") / "ro-crate.jsonld"
    subprocess.run([CHECKS / "python", HERE / "seed_crate_cache.py", context, path], check=True)
    return path


def validated(crate, cache):
    """Return whether the crate is one by the profile, and what the validator says."""
    done = subprocess.run(
        [CHECKS / "rocrate-validator", "-y", "--disable-color", "validate", "--offline", "--cache-path", cache,
         "-p", "provenance-run-crate", "-l", "required", "--no-paging", "-v", "-f", "json", crate],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr + done.stdout
    report, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])
    assert report["statistics"]["total_checks_by_severity"]["REQUIRED"] > 80
    return report["passed"], json.dumps(report["issues"])


def test_rocrate(exported, cache):
    assert validated(exported / "crate", cache) == (True, "[]")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda crate, graph: (crate / WEIGHTS).unlink(), WEIGHTS),
        (lambda crate, graph: graph["#rule/tune_adapter"].pop("workExample"), "HowToStep"),
        (lambda crate, graph: graph["#conducted"].pop("object"), "OrganizeAction"),
    ],
)
def test_a_spoilt_rocrate_is_refused(exported, cache, tmp_path, spoil, told):
    crate = tmp_path / "crate"
    shutil.copytree(exported / "crate", crate)
    path = crate / "ro-crate-metadata.json"
    document = json.loads(path.read_text())
    spoil(crate, {entity["@id"]: entity for entity in document["@graph"]})
    path.write_text(json.dumps(document))
    passed, issues = validated(crate, cache)
    assert not passed and told in issues


def test_rocrate_holds_every_step_and_digest(built, exported, steps):
    crate = exported / "crate"
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    runs = {entity["@id"]: entity for entity in graph if entity["@id"].startswith("#run/")}
    assert set(runs) == {f"#run/{step.invocation}" for step in steps.values()}
    files = {entity["@id"]: entity for entity in graph if "sha256" in entity}
    names = {name for entity in files.values() for name in [entity["name"], *_listed(entity.get("alternateName"))]}
    assert names >= {path for step in steps.values() for path in [*step.read, *step.made, *step.code]}
    for address, entity in files.items():
        if address.startswith("ni:"):
            hashed = base64.urlsafe_b64encode(bytes.fromhex(entity["sha256"])).decode().rstrip("=")
            assert address == f"ni:///sha-256;{hashed}"
        else:
            assert file_digest(crate / address) == entity["sha256"]
    tuned = steps[f"tune_adapter/{ADAPTER}"]
    run = runs[f"#run/{tuned.invocation}"]
    read = {files[entry["@id"]]["sha256"] for entry in run["object"] if entry["@id"] in files}
    assert read == set(tuned.read.values())
    assert (crate / run["subjectOf"]["@id"]).read_bytes() == (
        built.folder / f"results/lineage/tune_adapter/{ADAPTER}.json"
    ).read_bytes()
    assert not list(crate.rglob("*.jsonl")) and not (crate / "data").exists()  # records stay at home


def _listed(value):
    return value if isinstance(value, list) else [value] if value else []


def understood(line):
    """Return an event as OpenLineage's own classes take it; they raise ValueError or TypeError."""
    event = json.loads(line)
    known = {kind._get_schema(): kind for module in vars(facets).values() if hasattr(module, "__file__")
             for kind in vars(module).values() if isinstance(kind, type) and hasattr(kind, "_get_schema")}  # fmt: skip
    for holder in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for facet in holder["facets"].values():
            kind = known[facet.pop("_schemaURL")]
            facet.pop("_producer")
            if kind is facets.parent_run.ParentRunFacet:
                facet = {"run": facets.parent_run.Run(**facet["run"]), "job": facets.parent_run.Job(**facet["job"])}
            kind(**facet)
    return RunEvent(
        eventType=RunState(event["eventType"]), eventTime=event["eventTime"], producer=event["producer"],
        run=Run(event["run"]["runId"]), job=Job(event["job"]["namespace"], event["job"]["name"]),
    )  # fmt: skip


def test_openlineage(exported, steps):
    lines = (exported / "events.jsonl").read_text().splitlines()
    told = {}
    for line in lines:
        event = understood(line)
        assert told.setdefault(event.run.runId, []) == ([] if event.eventType == RunState.START else [RunState.START])
        told[event.run.runId].append(event.eventType)
    assert set(told) > {step.invocation for step in steps.values()} and len(told) == len(steps) + 1
    assert all(states == [RunState.START, RunState.COMPLETE] for states in told.values())
    ended = {event["run"]["runId"]: event for event in map(json.loads, lines) if event["eventType"] == "COMPLETE"}
    for step in steps.values():
        event = ended[step.invocation]
        for side, files in (("inputs", step.read), ("outputs", step.made)):
            versions = {item["name"]: item["facets"]["version"]["datasetVersion"] for item in event[side]}
            assert versions == {path: f"sha256:{digest}" for path, digest in files.items()}
        assert event["eventTime"] == step.finished


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: event["run"].update(runId="1"),
        lambda event: event.update(eventTime="today"),
        lambda event: event.update(eventType="DONE"),
        lambda event: event["job"]["facets"]["jobType"].pop("integration"),
    ],
)
def test_a_spoilt_event_is_refused(exported, spoil):
    event = json.loads((exported / "events.jsonl").read_text().splitlines()[1])
    spoil(event)
    with pytest.raises((ValueError, TypeError)):
        understood(json.dumps(event))


@pytest.fixture
def server():
    """A server on loopback that keeps what is posted; `server.answer` is its status."""

    class Handler(Quiet):
        server: Any

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.server.posted.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(self.server.answer)
            self.end_headers()

    running: Any
    with serving(Handler) as running:
        running.posted, running.answer = [], 201
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running


def test_events_are_posted(built, exported, server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "a-key")
    audit(built, "export", ADAPTER, "--openlineage", server.url)
    lines = (exported / "events.jsonl").read_text().splitlines()
    assert server.posted == [("/api/v1/lineage", "Bearer a-key", line) for line in lines]
    server.posted.clear()
    audit(built, "export", ADAPTER, "--openlineage", f"{server.url}/other/place")
    assert {path for path, _, _ in server.posted} == {"/other/place"}


def test_a_server_that_refuses_is_told(built, server):
    server.answer = 422
    audit(built, "export", ADAPTER, "--openlineage", server.url, fails="answered 422 at event 1 of")
    assert len(server.posted) == 1
    server.server_close()
    server.shutdown()
    audit(built, "export", ADAPTER, "--openlineage", server.url, fails="cannot be reached (ConnectionError)")


def bom_fault(path):
    done = subprocess.run([CHECKS / "python", HERE / "check_bom.py", path], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else None


def test_cyclonedx(built, exported, steps):
    assert bom_fault(exported / "bom.json") is None
    bom = json.loads((exported / "bom.json").read_text())
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", ADAPTER)
    assert model["hashes"] == [{"alg": "SHA-256", "content": file_digest(built.folder / WEIGHTS)}]
    assert model["pedigree"]["ancestors"][0]["name"] == "tests/tiny-random-llama"
    known = {component["bom-ref"]: component for component in bom["components"]}
    for name in ("raw/records.jsonl", f"prompts/{ADAPTER}/train.jsonl", "curated/law-qa-train.jsonl"):
        assert known[f"results/{name}"]["hashes"][0]["content"] == file_digest(built.folder / "results" / name)
    assert known["results/raw/records.jsonl"]["licenses"] == [{"license": {"id": "CC0-1.0"}}]
    assert {part["name"]: part["hashes"][0]["content"] for part in known["base"]["components"]} == {
        path: producers(steps)[path].made[path] for path in steps["convert_base/tiny"].read
    }
    needs = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in bom["dependencies"]}
    assert {"base", f"results/prompts/{ADAPTER}/train.jsonl"} <= needs["adapter"]
    assert needs["results/raw/records.jsonl"] == {"data/sample/law-questions.json"}
    card = model["modelCard"]
    assert {entry["ref"] for entry in card["modelParameters"]["datasets"]} < set(known)
    assert {"name": "tune_adapter:rank", "value": "4"} in card["properties"]
    scores = json.loads((built.folder / f"results/evaluation/{ADAPTER}.json").read_text())
    metrics = {(metric["type"], metric["slice"]): metric["value"] for metric in
               card["quantitativeAnalysis"]["performanceMetrics"]}  # fmt: skip
    assert metrics["rougeL", "4 test records: adapter"] == f"{scores['adapter']['rougeL']['mean']:g}"


def test_the_bom_lists_every_package_with_its_licence(exported):
    bom = json.loads((exported / "bom.json").read_text())
    locks = {one["name"]: one for one in bom["components"] if one["name"].endswith(".lock")}
    assert set(locks) == {f"containers/{name}/requirements.lock" for name in ("curate", "serve", "tune", "workflow")}
    for name, lock in locks.items():
        pinned = dict(PINNED.findall((ROOT / name).read_text()))
        assert {one["name"]: one["version"] for one in lock["components"]} == pinned
    licences = {
        (one["name"], name.split("/")[1]): one.get("licenses")
        for name, lock in locks.items() for one in lock["components"]
    }  # fmt: skip
    assert licences["pycountry", "serve"] == [{"license": {"id": "LGPL-2.1-only"}}]
    assert licences["intel-openmp", "serve"] == [
        {"license": {"name": "Intel End User License Agreement for Developer Tools"}}
    ]
    assert licences["tqdm", "workflow"] == [{"expression": "MPL-2.0 AND MIT"}]
    (torch,) = [one for one in locks["containers/tune/requirements.lock"]["components"] if one["name"] == "torch"]
    assert torch["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu" and [one["name"] for one in torch["components"]] == [
        "libgomp", "oneMKL (linked into libtorch_cpu)"
    ]  # fmt: skip
    assert torch["components"][1]["licenses"] == [{"license": {"name": "Intel Simplified Software License"}}]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda bom: bom["metadata"]["component"].update(type="lora"), "lora"),
        (lambda bom: bom["metadata"]["component"]["modelCard"].update(quality="good"), "quality"),
        (lambda bom: bom["components"][0]["hashes"][0].update(content="none"), "none"),
        (lambda bom: bom["components"][-1]["components"][0].update(licenses="MIT"), "MIT"),
    ],
)
def test_a_spoilt_bom_is_refused(exported, tmp_path, spoil, told):
    bom = json.loads((exported / "bom.json").read_text())
    spoil(bom)
    (tmp_path / "bom.json").write_text(json.dumps(bom))
    assert told in bom_fault(tmp_path / "bom.json")


def test_refusals(built, copy_of_built, tmp_path):
    audit(built, "export", "other", "--cyclonedx", str(tmp_path / "b"), fails="no adapter 'other' was staged")
    audit(built, "export", ADAPTER, "--ro-crate", "results", fails="results: is there already")
    weights = copy_of_built.folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    for form in ("ro-crate", "cyclonedx"):
        audit(copy_of_built, "export", ADAPTER, f"--{form}", str(tmp_path / form), fails="not what its step made")
        assert not (tmp_path / form).exists()
    (copy_of_built.folder / "Snakefile").unlink()
    shutil.copyfile(built.folder / WEIGHTS, weights)
    audit(copy_of_built, "export", ADAPTER, "--ro-crate", str(tmp_path / "c"), fails="Snakefile: no such file")


def test_an_edited_script_is_named_by_digest(copy_of_built, steps, tmp_path):
    """A file in the crate is the one that ran, or it is not in the crate."""
    with open(copy_of_built.folder / "scripts/tune_adapter.py", "a") as script:
        script.write("# edited after the run\n")
    audit(copy_of_built, "export", ADAPTER, "--ro-crate", str(tmp_path / "crate"))
    graph = json.loads((tmp_path / "crate/ro-crate-metadata.json").read_text())["@graph"]
    (script,) = [entity for entity in graph if entity.get("name") == "scripts/tune_adapter.py"]
    assert script["@id"].startswith("ni:///") and not (tmp_path / "crate/scripts/tune_adapter.py").exists()
    assert script["sha256"] == steps[f"tune_adapter/{ADAPTER}"].code["scripts/tune_adapter.py"]


def edit(checkout, step, change):
    path = checkout.folder / f"results/lineage/{step}.json"
    statement = read_statement(path)
    change(statement)
    path.write_text(json.dumps(seal(statement, None)))


def test_names_of_any_kind(copy_of_built, cache, tmp_path):
    """None leads out of the crate, and one with a blank is that of one file."""
    outside, blank = "scripts/../../outside.py", "scripts/a file.py"
    for name in (outside, blank):
        (copy_of_built.folder / name).write_text("pass\n")
        resource = {"name": name, "digest": {"sha256": file_digest(copy_of_built.folder / name)}}
        for step in (f"tune_adapter/{ADAPTER}", f"export_adapter/{ADAPTER}"):
            edit(copy_of_built, step, lambda statement, added=resource: dependencies(statement).append(added))
    audit(copy_of_built, "export", ADAPTER, "--ro-crate", str(tmp_path / "in/crate"))
    crate = tmp_path / "in/crate"
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    addresses = {name: [entity["@id"] for entity in graph if entity.get("name") == name] for name in (outside, blank)}
    assert addresses[blank] == ["scripts/a%20file.py"] and (crate / blank).is_file()
    assert [address[:6] for address in addresses[outside]] == ["ni:///"] and not list(
        (tmp_path / "in").rglob("outside.py")
    )
    assert validated(crate, cache) == (True, "[]")


def dependencies(statement):
    return statement["predicate"]["buildDefinition"]["resolvedDependencies"]


def test_attestations_that_tell_no_build_are_refused(copy_of_built, tmp_path):
    def circle(statement):
        definition = statement["predicate"]["buildDefinition"]
        definition["externalParameters"]["inputs"]["more"] = [WEIGHTS]
        definition["internalParameters"]["action"]["inputs"]["more"] = [[WEIGHTS, "0" * 64]]
        definition["resolvedDependencies"].append({"name": WEIGHTS, "digest": {"sha256": "0" * 64}})

    def dropped(statement):
        definition = statement["predicate"]["buildDefinition"]
        definition["resolvedDependencies"] = [item for item in definition["resolvedDependencies"]
                                              if item["name"] != "scripts/acquire_raw.py"]  # fmt: skip

    lineage = copy_of_built.folder / "results/lineage"
    asked = ("export", ADAPTER, "--cyclonedx", str(tmp_path / "bom.json"))
    whole = (lineage / "acquire_raw.json").read_text()
    edit(copy_of_built, "acquire_raw", circle)
    audit(copy_of_built, *asked, fails="form a cycle: ")
    (lineage / "acquire_raw.json").write_text(whole)
    edit(copy_of_built, "acquire_raw", dropped)
    audit(copy_of_built, *asked, fails="acquire_raw.json: not an attestation of a step")
    (lineage / "acquire_raw.json").write_text(whole)
    (lineage / f"export_adapter/{ADAPTER}.json").unlink()
    audit(copy_of_built, *asked, fails="adapter_config.json: evaluate_adapter/law-titlegen read it, but no attestation")
