"""The tamper table: what an auditor's verify names when something was done to a build, and nothing else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT

from adapter_build.audit.verify import verify
from adapter_build.core.digests import file_digest
from adapter_build.hermetic.action import key_of
from adapter_build.hermetic.envelope import read_statement, seal, unseal
from adapter_build.hermetic.environments import lock_digest
from adapter_build.hermetic.keys import make_key, private_key, public_half
from adapter_build.lineage.adapter_bundle import BUNDLE, SIGNATURE
from adapter_build.lineage.results_folder import artifacts

pytestmark = pytest.mark.slow
ADAPTER = "results/loras/law-titlegen"
OUTSIDE = ["data/sample/law-questions.json", "prompts/law-titlegen.jq", "tests/tiny/base/model.safetensors"]
KEY = Path(".keys/builder.pem")
NO_COMMIT = ("note", "commit")  # the tests' checkouts are no git repositories


@pytest.fixture
def here(copy_of_built, monkeypatch):
    """A build to tamper with, as the working folder."""
    monkeypatch.chdir(copy_of_built.folder)
    return copy_of_built


def found(path="results", keys=None):
    """Return the kind and name of everything that does not hold, but for NO_COMMIT."""
    keys = [public_half(KEY)] if keys is None else keys
    return {(finding.kind, finding.name) for finding in verify(Path(path), keys, [])} - {NO_COMMIT}


def lineage(step):
    return Path(f"results/lineage/{step}.json")


def attest(step, change, key=KEY):
    """Rewrite an attestation, signed with a key; with None the old signatures stay as they were."""
    path = lineage(step)
    envelope = json.loads(path.read_text())
    statement = unseal(envelope)
    change(statement)
    again = seal(statement, private_key(key) if key else None)
    path.write_text(json.dumps(again if key else {**again, "signatures": envelope["signatures"]}))


def test_an_untouched_build_holds(here):
    assert found() == set()
    command = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit", "verify"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    why = "no commit (the checkout is no git repository: git clone gives a checkout with its commit)"
    steps = len(list(Path("results/lineage").rglob("*.json")))
    note = f"note        commit: {why}: {steps} steps"
    assert done.returncode == 0 and done.stdout == f"{note}\nresults: all holds\n", done.stdout + done.stderr


def test_one_byte_of_any_file(here):
    """With its size and its time as they were."""
    names = [str(path) for path in artifacts(Path("results"))] + OUTSIDE
    assert len(names) > 30
    for name in names:
        path = Path(name)
        whole, times = path.read_bytes(), path.stat()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert found() == {("altered", name)}
        path.write_bytes(whole)
    assert found() == set()


def test_any_file_deleted(here):
    for path in artifacts(Path("results")):
        whole = path.read_bytes()
        path.unlink()
        assert found() == {("missing", str(path))}
        path.write_bytes(whole)
    Path(OUTSIDE[1]).unlink()
    assert found() == {("missing", OUTSIDE[1])}


def test_two_valid_files_swapped(here):
    one, other = Path("results/split/val.jsonl"), Path("results/split/test.jsonl")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert found() == {("altered", str(one)), ("altered", str(other))}


@pytest.mark.parametrize("name", ["results/split/extra.jsonl", f"{ADAPTER}/pytorch_model.bin", "results/notes/x.txt"])
def test_a_file_added(here, name):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("x")
    assert found() == {("foreign", name)}


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_in_place_of_a_file(here, tmp_path, folder):
    """Its content is right: today."""
    path = Path("results/split") if folder else Path("results/split/val.jsonl")
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert found() == {("altered", str(path))}


def test_the_ledger_edited(here):
    path = Path("results/curated/ledger.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    next(row for row in rows if row["outcome"] == "dropped")["outcome"] = "kept"
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    assert found() == {("altered", str(path))}


def test_an_attestation_edited(here):
    attest("curate_split/train", lambda it: it["predicate"]["runDetails"]["metadata"].update(invocationId="x"), None)
    assert found() == {("signature", "curate_split/train")}


TUNED = "tune_adapter/law-titlegen"


def test_an_option_that_promises_no_bytes_is_noted_and_not_hidden(here):
    """And where it was tuned: on a card of which type."""

    def tuned(statement):
        definition = statement["predicate"]["buildDefinition"]
        internal = definition["internalParameters"]
        definition["externalParameters"]["parameters"]["attention"] = ["fastest"]
        internal["action"]["params"]["attention"] = ["fastest"]
        internal["action"]["device"] = "gpu-NVIDIA H100 80GB HBM3"
        internal["actionKey"] = key_of(internal["action"])
        run = statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]
        run["gpu"] = {"card": "NVIDIA H100 80GB HBM3", "driver": "580.159.04", "torch": "2.11.0+cu130"}

    attest(TUNED, tuned)
    notes = [finding for finding in verify(Path("results"), [public_half(KEY)], []) if finding.kind == "note"]
    assert {finding.what for finding in notes if (finding.kind, finding.name) != NO_COMMIT} == {
        "tuned on NVIDIA H100 80GB HBM3 (driver 580.159.04, torch 2.11.0+cu130): "
        "same bytes are promised on this card type alone",
        "attention: fastest: a rebuild may give other bytes",
    }
    command = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit", "show", f"{ADAPTER}/README.md"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"{TUNED}: attention: fastest: a rebuild may give other bytes" in lines[-2:]
    assert any(line.startswith(f"{TUNED}: tuned on NVIDIA H100 80GB HBM3 (") for line in lines[-2:])

    def hidden(statement):
        statement["predicate"]["buildDefinition"]["externalParameters"]["parameters"].pop("attention")

    whole = lineage(TUNED).read_bytes()
    attest(TUNED, hidden, None)
    assert {("attestation", TUNED), ("signature", TUNED)} <= found()
    lineage(TUNED).write_bytes(whole)
    attest(TUNED, hidden)  # even by who has the key: the options are part of what was run
    assert ("attestation", TUNED) in found() and ("signature", TUNED) not in found()


def test_an_artifact_and_its_attestation_edited(here):
    """The edited files fit together, so that only the signature tells."""
    path = Path("results/evaluation/law-titlegen.json")
    path.write_text(path.read_text().replace("rougeL", "rougeX"))
    digest = file_digest(path)

    def bless(statement):
        next(item for item in statement["subject"] if item["name"] == str(path))["digest"]["sha256"] = digest

    attest("evaluate_adapter/law-titlegen", bless, None)
    assert found() == {("signature", "evaluate_adapter/law-titlegen")}
    attest("split_records", lambda it: it["subject"][0]["digest"].update(sha256="0" * 64))
    assert ("chain", "curate_split/test") in found(), "the next step read something else"


def test_an_attestation_signed_by_another(here, tmp_path):
    make_key(str(tmp_path / "other.pem"))
    attest("split_records", lambda it: None, tmp_path / "other.pem")
    assert found() == {("signature", "split_records")}
    assert found(keys=[public_half(KEY), tmp_path / "other.pub.pem"]) == set()
    assert ("signature", "acquire_raw") in found(keys=[tmp_path / "other.pub.pem"])


def test_an_attestation_stripped_of_its_signature(here):
    path = lineage("split_records")
    path.write_text(json.dumps({**json.loads(path.read_text()), "signatures": []}))
    assert found() == {("signature", "split_records")}


def test_a_build_that_nobody_signed(here):
    """Nothing of it is proven; as soon as somebody trusts a key, it does not hold."""
    for path in Path("results/lineage").rglob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "signatures": []}))
    bundle = Path(ADAPTER, BUNDLE)
    lines = [{**json.loads(line), "signatures": []} for line in bundle.read_text().splitlines()]
    bundle.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert found(keys=[]) == {("unproven", "unsigned"), ("unproven", f"{ADAPTER}/{SIGNATURE}")}
    assert {kind for kind, _ in found()} == {"signature"}


def test_an_attestation_deleted(here):
    lineage("split_records").unlink()
    splits = {("unexplained", f"results/split/{split}.jsonl") for split in ("train", "val", "test")}
    assert splits <= found() and {kind for kind, _ in found()} == {"unexplained"}


def test_the_attestation_of_a_last_step_deleted(here):
    lineage("evaluate_adapter/law-titlegen").unlink()
    names = ("results/evaluation/law-titlegen.json", "results/evaluation/law-titlegen.predictions.jsonl")
    assert found() == {("unexplained", name) for name in names}


@pytest.mark.parametrize("spoilt", ["", "{}", "[]", "other", "shape"])
def test_what_is_no_attestation(here, spoilt):
    path = lineage("evaluate_adapter/law-titlegen")
    if spoilt == "shape":
        attest("evaluate_adapter/law-titlegen", lambda it: it["predicate"]["runDetails"].update(unheard="of"))
        assert ("attestation", str(path)) in found()
        return
    path.write_text(lineage("split_records").read_text() if spoilt == "other" else spoilt)
    assert ("attestation", str(path)) in found()


@pytest.mark.parametrize("name", ["/etc/passwd", "results/../config.yaml", "../x", "config.yaml"])
def test_an_attestation_of_what_lies_elsewhere(here, name):
    attest("split_records", lambda it: it["subject"].append({"name": name, "digest": {"sha256": "0" * 64}}))
    assert ("attestation", str(lineage("split_records"))) in found()


@pytest.mark.parametrize("name", ["scripts/curate_split.py", "containers/curate/requirements.lock"])
def test_code_edited_after_the_run(here, name):
    with open(name, "a") as file:
        file.write("EDITED = True\n" if name.endswith(".py") else "# edited\n")
    assert found() == {("code", name)}


def test_a_remark_edited_after_the_run_is_a_note(here):
    with open("scripts/curate_split.py", "a") as file:
        file.write("# a remark\n")
    assert found() == {("note", "scripts/curate_split.py")}


def test_what_no_step_used_of_a_module_is_a_note_when_it_is_edited(here):
    """It is when what one of several steps used of it is edited that it is more."""
    jsonl, packing = Path("adapter_build/core/jsonl.py"), Path("adapter_build/kernels/packing.py")
    packing.write_text(f"{packing.read_text()}UNUSED = True\n")
    assert found() == {("note", str(packing))}
    packing.write_text(packing.read_text().replace("for number in range(count)]", "for number in range(count + 0)]"))
    assert found() == {("code", str(packing))}
    jsonl.write_text(f"{jsonl.read_text()}UNUSED = True\n")
    assert found() == {("code", str(packing)), ("note", str(jsonl))}


def test_code_edited_in_a_repository_that_lacks_the_commit(here):
    """Code that cannot be compared with the commit is still compared with that of the checkout."""

    def of_elsewhere(statement):
        checkout = {"name": "checkout", "digest": {"gitCommit": "0" * 40}, "annotations": {"altered": False}}
        statement["predicate"]["buildDefinition"]["resolvedDependencies"].append(checkout)

    attest("split_records", of_elsewhere)
    assert found() == {("note", "0" * 12)}
    with open("scripts/split_records.py", "a") as file:
        file.write("EDITED = True\n")
    assert found() == {("note", "0" * 12), ("code", "scripts/split_records.py")}


@pytest.mark.parametrize(
    "text", ["signing: none\n", "signing: {key: [a]}\n", "signing: {kay: a}\n", "signing: [\n", "- a\n"]
)
def test_a_configuration_that_names_no_keys_is_refused_in_one_line(here, text):
    Path("config.yaml").write_text(text)
    for verb in ("verify", "key"):
        command = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit", verb]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1
        assert "signing" in done.stderr or "cannot be read" in done.stderr


def test_an_image_that_is_another_now(here):
    def in_docker(statement):
        image = {"name": "image", "uri": "docker://localhost/curate", "digest": {"sha256": "a" * 64}}
        statement["predicate"]["buildDefinition"]["resolvedDependencies"].append(image)

    attest("split_records", in_docker)
    lock = lock_digest("curate")
    entry = {"repository": "localhost/curate", "digest": f"sha256:{'a' * 64}", "lock": lock}
    images = Path("containers/images.local.lock.yaml")
    images.write_text(yaml.safe_dump({"images": {"curate": entry}}))
    assert found() == set()
    images.write_text(yaml.safe_dump({"images": {"curate": {**entry, "digest": f"sha256:{'b' * 64}"}}}))
    assert found() == {("image", "split_records")}


def test_a_cached_step_holds(here):
    Path("results/split/train.jsonl").unlink()
    here.build("results/split/train.jsonl")
    assert "reused" in json.dumps(read_statement(lineage("split_records")))
    assert found() == set()


def test_code_is_compared_with_the_commit(checkout, monkeypatch):
    monkeypatch.chdir(checkout.folder)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    with open("scripts/split_records.py", "a") as file:
        file.write("# not committed\n")
    checkout.build("results/split/train.jsonl")
    assert found() == {("note", "scripts/split_records.py")}

    def as_if_committed(statement):
        dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        next(item for item in dependencies if item["name"] == "checkout")["annotations"]["altered"] = False

    attest("split_records", as_if_committed)
    assert found() == {("code", "scripts/split_records.py")}


class TestStagedAdapter:
    """The same of an adapter by itself, in a folder that knows nothing of its build."""

    @pytest.fixture
    def adapter(self, here, tmp_path, monkeypatch):
        """Its folder, with the public key beside it."""
        folder = tmp_path / "elsewhere/law-titlegen"
        shutil.copytree(ADAPTER, folder)
        shutil.copy(public_half(KEY), folder.with_name("builder.pub.pem"))
        monkeypatch.chdir(folder.parent)
        return Path("law-titlegen")

    KEYS = (Path("builder.pub.pem"),)

    def found(self, keys=KEYS):
        return {(finding.kind, finding.name) for finding in verify(Path("law-titlegen"), keys, [])}

    def theirs(self):
        """Tell if OpenSSF's own command accepts it."""
        command = [ROOT / ".venvs/workflow/bin/model_signing", "verify", "key", "law-titlegen"]
        command += ["--signature", f"law-titlegen/{SIGNATURE}", "--public_key", "builder.pub.pem"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def test_it_holds(self, adapter):
        assert self.found() == set()
        assert self.theirs()

    def test_one_byte_of_any_file(self, adapter):
        for path in sorted(adapter.iterdir()):
            whole = path.read_bytes()
            path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
            if path.name in (BUNDLE, SIGNATURE):
                assert self.found() and {kind for kind, _ in self.found()} <= {
                    "attestation",
                    "signature",
                    "unproven",
                }, path
            else:
                assert self.found() == {("altered", str(path))}
                assert not self.theirs()
            path.write_bytes(whole)

    def test_a_file_deleted_or_added_or_linked(self, adapter):
        card = adapter / "README.md"
        card.rename("card")
        assert self.found() == {("missing", str(card))}
        card.symlink_to(Path("card").absolute())
        assert self.found() == {("altered", str(card))}
        card.unlink()
        Path("card").rename(card)
        (adapter / "pytorch_model.bin").write_bytes(b"x")
        assert self.found() == {("foreign", str(adapter / "pytorch_model.bin"))}

    def test_no_signature_over_its_files(self, adapter):
        (adapter / SIGNATURE).unlink()
        assert self.found() == {("signature", str(adapter / SIGNATURE))}

    def test_signed_by_another(self, adapter):
        make_key("other.pem")
        assert {kind for kind, _ in self.found([Path("other.pub.pem")])} == {"signature"}
        assert self.found([]) == {("unproven", "attestations"), ("unproven", str(adapter / SIGNATURE))}

    def test_a_step_left_out_of_the_bundle(self, adapter):
        path = adapter / BUNDLE
        lines = path.read_text().splitlines(keepends=True)
        dropped = next(line for line in lines if "tune_adapter" in unseal(json.loads(line))["predicate"][
            "buildDefinition"]["externalParameters"]["step"])  # fmt: skip
        path.write_text("".join(line for line in lines if line != dropped))
        assert {("unexplained", "results/checkpoints/law-titlegen.nemo"), ("attestation", str(path))} <= self.found()
        path.write_text("".join([*lines, dropped]))
        assert ("attestation", str(path)) in self.found(), "one step twice"
        path.write_text("")
        assert ("unproven", str(path)) in self.found()

    def test_a_name_that_leads_out_of_the_folder(self, adapter, here):
        """The bundle's author may have any key, and names a file of the machine that it is checked on."""
        path = adapter / BUNDLE
        key = private_key(here.folder / KEY)
        lines = []
        for line in path.read_text().splitlines():
            statement = unseal(json.loads(line))
            for item in statement["subject"]:
                item["name"] = item["name"].replace("results/loras/law-titlegen", "results/loras/../../../../etc")
            lines.append(json.dumps(seal(statement, key)))
        path.write_text("\n".join(lines))
        assert ("attestation", str(path)) in self.found()
