"""Files that others may write: a store's records, objects and attestations, resume state, an adapter's bundle."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attack_table import Attack, attacks, every
from attestation_samples import statement

from adapter_build.cli import audit
from adapter_build.core import faults
from adapter_build.core.digests import file_digest
from adapter_build.hermetic.envelope import read_statement, seal, unseal
from adapter_build.hermetic.keys import make_key, private_key
from adapter_build.lineage.adapter_bundle import write_bundle
from adapter_build.lineage.attested_steps import read_step
from adapter_build.lineage.results_folder import BUNDLE, SIGNATURE

ROOT = Path(__file__).parents[2]
FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")


class Place:
    """A project with a step, its store and key; beside it an adapter with its bundle, and a file of somebody's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.precious = folder, folder / "precious"
        self.precious.write_text("precious")
        self.adapter = folder / "law"
        make_key(str(folder / "key.pem"))

    def project(self) -> "Place":
        """Put the runner there, and run the step once, so that the store has what it made."""
        for name in ("adapter_build", "scripts", "containers"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / ".venvs").symlink_to(ROOT / ".venvs")
        (self.folder / "scripts/x.py").write_text(Path(__file__).with_name("copy_or_fail.py").read_text())
        (self.folder / "in.txt").write_bytes(b"in" * 2**20)
        assert "Traceback" not in self.step()
        return self

    def step(self, *options: str, key: str = "key.pem") -> str:
        """Run the step and return what it said."""
        command = [
            sys.executable, "scripts/step.py", "--env", "workflow", "--log", "logs/copy.log",
            "--input", "source", "in.txt", "--output", "copy", "results/out.txt", *options, "--", "scripts/x.py",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "STEP_STORE": ".store", "STEP_KEY": key, "STEP_RUNTIME": "host"},
        )  # fmt: skip
        log = self.folder / "logs/copy.log"
        return f"{done.stdout}{done.stderr}exit code {done.returncode}\n{log.read_text() if log.exists() else ''}"

    def again(self) -> str:
        """Run the step with nothing there but the store; it must come to what it came to before."""
        shutil.rmtree(self.folder / "results")
        said = self.step()
        assert (self.folder / "results/out.txt").read_bytes() == b"in" * 32, said
        return said

    @property
    def record(self) -> Path:
        """The store's one record."""
        [path] = (self.folder / ".store/actions").glob("*/*.json")
        return path

    @property
    def object(self) -> Path:
        """The store's one object."""
        [path] = (self.folder / ".store/objects").glob("*/*")
        return path

    def rewrite(self, change: Callable[[dict[str, Any]], Any] | bytes) -> str:
        """Run the step again after a change of the record."""
        self.project()
        content = json.loads(self.record.read_text())
        if isinstance(change, bytes):
            new = change
        else:
            change(content)
            new = json.dumps(content).encode()
        self.record.chmod(0o644)
        self.record.write_bytes(new)
        return self.again()

    def reseal(self, change: Callable[[dict[str, Any]], Any]) -> str:
        """Run the step again after a change of the record's statement, which is signed anew by another."""
        make_key(str(self.folder / "other.pem"))

        def changed(record: dict[str, Any]) -> None:
            document = unseal(record["envelope"])
            change(document)
            record["envelope"] = seal(document, private_key(self.folder / "other.pem"))

        return self.rewrite(changed)

    def staged(self) -> "Place":
        """Stage an adapter: three files, two attestations, a signature."""
        self.adapter.mkdir()
        for name in FILES:
            (self.adapter / name).write_text(name)
        made = {f"results/loras/law/{name}": file_digest(self.adapter / name) for name in FILES}
        read = {"results/tuned": "a" * 64}
        key = private_key(self.folder / "key.pem")
        steps = [
            read_step(seal(document, key))
            for document in (statement("tune", read), statement("stage_adapter/law", made, read))
        ]
        os.environ["STEP_KEY"] = str(self.folder / "key.pem")
        try:
            write_bundle(self.adapter, {step.name: step for step in steps}, "stage_adapter/law")
        finally:
            del os.environ["STEP_KEY"]
        return self

    def lines(self) -> list[dict[str, Any]]:
        """Return the envelopes of the bundle."""
        return [json.loads(line) for line in (self.adapter / BUNDLE).read_text().splitlines()]

    def bundle(self, envelopes: list[dict[str, Any]]) -> "Place":
        """Write the bundle."""
        (self.adapter / BUNDLE).write_text("".join(json.dumps(envelope) + "\n" for envelope in envelopes))
        return self

    def verify(self, *options: str, path: Path | None = None) -> str:
        """Return what `audit verify` says, in a folder with no key of its own; its exit code comes last."""
        before = Path.cwd()
        os.chdir(self.folder)
        words = ["verify", str(path or self.adapter), *options]
        code = 0
        try:
            faults.run(lambda: sys.exit(audit.VERBS["verify"](audit.parser().parse_args(words))))
        except SystemExit as ended:
            code = ended.code
        finally:
            os.chdir(before)
        return f"exit code {code}\n"

    def trusting(self, **how: Path) -> str:
        """Verify with the builder's own key."""
        return self.verify("--key", str(self.folder / "key.pub.pem"), **how)

    def altered(self) -> "Place":
        """Alter the weights."""
        (self.adapter / FILES[1]).write_text("altered")
        return self


def _path(name: str) -> Callable[[Place], str]:
    return lambda place: place.rewrite(lambda record: record["outputs"].update(copy=[name]))


def _whole(content: Callable[[bytes], bytes]) -> Callable[[Place], str]:
    def made(place: Place) -> str:
        place.project()
        return Place.rewrite(_again(place), content(place.record.read_bytes()))

    return made


def _again(place: Place) -> Place:
    """Return the place, whose `project` does nothing more."""
    place.project = lambda: place  # type: ignore[method-assign]
    return place


def _object(change: Callable[[Place], object]) -> Callable[[Place], str]:
    def made(place: Place) -> str:
        place.project()
        change(place)
        return place.again()

    return made


def _linked(place: Place) -> None:
    found = place.object
    found.unlink()
    found.symlink_to(place.precious)


def _folder(place: Place) -> None:
    found = place.object
    found.unlink()
    found.mkdir()


def _linked_folder(place: Place) -> None:
    found = place.object.parent
    (place.folder / "elsewhere").mkdir()
    shutil.copy(place.precious, place.folder / "elsewhere" / place.object.name)
    shutil.rmtree(found)
    found.symlink_to(place.folder / "elsewhere")


def _fifo_record(place: Place) -> None:
    found = place.record
    found.unlink()
    os.mkfifo(found)


def _resumed(change: Callable[[Path], object], key: str = "key.pem") -> Callable[[Place], str]:
    def made(place: Place) -> str:
        place.project()
        keep = ("--keep", "resume", "--setting", "fails")
        assert "exit code 2" in place.step("--always", *keep, "yes", key=key)
        [state] = place.folder.glob("results/.kept/copy-*/state")
        change(state)
        return place.step("--always", *keep, "no")

    return made


def _of_another_action(state: Path) -> None:
    """Put a sound state, with its codes, where another action looks."""
    notes = state.parents[2] / ".attempts" / f"{state.parent.name}.mac"
    other = f"{state.parent.name[:-64]}{'0' * 64}"
    state.parent.rename(state.parents[1] / other)
    notes.rename(notes.with_name(f"{other}.mac"))
    own = state.parents[1] / f"{other[:-64]}{_key(state)}"
    shutil.copytree(state.parents[1] / other, own)
    shutil.copy(notes.with_name(f"{other}.mac"), notes.with_name(f"{own.name}.mac"))
    codes = notes.with_name(f"{own.name}.mac")
    codes.write_text("\n".join(reversed(codes.read_text().split())) + "\n")
    (own / "state").write_text("8")


def _key(state: Path) -> str:
    return read_statement(state.parents[2] / "lineage/copy.json")["predicate"]["buildDefinition"]["internalParameters"][
        "actionKey"
    ]


def _while_it_runs(place: Place, change: Callable[[Path], object]) -> str:
    """Run the step, and change its input when it has begun."""
    place.project()

    def changed() -> None:
        while not list(place.folder.glob("results/.attempts/copy-*/scratch")):
            time.sleep(0.01)
        time.sleep(0.2)
        change(place.folder / "in.txt")

    thread = threading.Thread(target=changed)
    thread.start()
    said = place.step("--always", "--setting", "fails", "slow")
    thread.join()
    return said


def _stripped(place: Place) -> Place:
    return place.bundle([{**envelope, "signatures": []} for envelope in place.lines()])


def _unbundled(place: Place) -> Place:
    (place.adapter / BUNDLE).unlink()
    return place


def _renamed(place: Place) -> Path:
    place.adapter.rename(place.folder / "other")
    return place.folder / "other"


def _beside(name: str) -> Callable[[Place], str]:
    def made(place: Place) -> str:
        (place.staged().adapter / name).write_text("x")
        return place.trusting()

    return made


def _own_key(place: Place) -> str:
    """Put the public key of whoever altered it into the folder."""
    place.staged()
    shutil.copy(place.folder / "key.pub.pem", place.adapter)
    return place.verify("--key", str(place.adapter / "key.pub.pem"))


def _other_key(place: Place) -> str:
    make_key(str(place.folder / "other.pem"))
    return place.staged().verify("--key", str(place.folder / "other.pub.pem"))


def _unsigned(place: Place) -> str:
    (place.staged().adapter / SIGNATURE).unlink()
    return place.trusting()


def _empty_build(place: Place) -> str:
    (place.folder / "results/lineage").mkdir(parents=True)
    return place.trusting(path=place.folder / "results")


MADE: dict[str, Callable[[Place], str]] = {
    "record_digest_leads_out": _path("../../../precious"),
    "record_digest_is_absolute": _path("/etc/passwd"),
    "record_digest_in_capitals": _path("A" * 64),
    "record_digest_is_a_number": lambda place: place.rewrite(lambda record: record["outputs"].update(copy=[7])),
    "record_with_more_outputs": lambda place: place.rewrite(lambda record: record["outputs"].update(more=["a" * 64])),
    "record_without_outputs": lambda place: place.rewrite(lambda record: record["outputs"].clear()),
    "record_with_an_unknown_field": lambda place: place.rewrite(lambda record: record.update(x=1)),
    "record_of_another_version": lambda place: place.rewrite(lambda record: record.update(version=2.0)),
    "record_is_a_list": _whole(lambda content: b"[" + content + b"]"),
    "record_key_twice": _whole(lambda content: content.replace(b'{"version"', b'{"version": 2, "version"')),
    "record_is_deep": _whole(lambda content: b'{"version": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "record_is_not_utf8": _whole(lambda content: content.replace(b'"version"', b'"versi\xff"')),
    "record_is_cut": _whole(lambda content: content[:100]),
    "record_is_a_fifo": _object(_fifo_record),
    "record_attests_a_file_outside": lambda place: place.reseal(
        lambda it: it["subject"][0].update(name="../../precious")
    ),
    "record_attests_another_step": lambda place: place.reseal(
        lambda it: it["predicate"]["buildDefinition"]["externalParameters"].update(step="stage_adapter/law")
    ),
    "record_attests_another_action": lambda place: place.reseal(
        lambda it: it["predicate"]["buildDefinition"]["internalParameters"]["action"].update(threads=2)
    ),
    "object_is_a_link": _object(_linked),
    "object_is_a_folder": _object(_folder),
    "objects_folder_is_a_link": _object(_linked_folder),
    "state_altered": _resumed(lambda state: (state.chmod(0o644), state.write_text("9"))),
    "state_of_another_builder": _resumed(lambda state: None, key=""),
    "state_of_another_action": _resumed(_of_another_action),
    "state_is_a_link": _resumed(lambda state: (state.unlink(), state.symlink_to("/etc/hostname"))),
    "output_is_a_fifo": lambda place: place.project().step("--always", "--setting", "fails", "fifo"),
    "input_altered_while_its_step_runs": lambda place: _while_it_runs(place, lambda file: file.write_bytes(b"other")),
    "bundle_empty_and_no_key": lambda place: place.staged().altered().bundle([]).verify(),
    "bundle_empty": lambda place: place.staged().bundle([]).trusting(),
    "signed_and_no_key": lambda place: place.staged().verify(),
    "stripped_and_altered_and_no_key": lambda place: _stripped(place.staged().altered()).verify(),
    "stripped": lambda place: _stripped(place.staged()).trusting(),
    "weights_altered": lambda place: place.staged().altered().trusting(),
    "no_bundle": lambda place: _unbundled(place.staged()).trusting(),
    "no_signature_over_the_files": _unsigned,
    "staging_not_attested": lambda place: place.bundle(place.staged().lines()[:1]).trusting(),
    "a_step_not_attested": lambda place: place.bundle(place.staged().lines()[1:]).trusting(),
    "a_step_twice": lambda place: place.bundle(place.staged().lines() * 2).trusting(),
    "of_another_name": lambda place: place.trusting(path=_renamed(place.staged())),
    "stranger_beside": _beside("notes.txt"),
    "hidden_stranger_beside": _beside(".hidden"),
    "pickle_beside": _beside("pytorch_model.bin"),
    "key_of_the_folder_itself": _own_key,
    "key_of_another": _other_key,
    "build_without_attestations": _empty_build,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The place of an attack; what it is not to touch is whole afterwards."""
    for name in ("STEP_KEY", "STEP_STORE", "STEP_TRUSTED"):
        monkeypatch.delenv(name, raising=False)
    made = Place(tmp_path)
    yield made
    assert made.precious.read_text() == "precious"
    assert not list(tmp_path.rglob(".part-*")), "half-written"


@every("store")
def test_an_attack_is_answered_in_one_line(attack: Attack, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    said = MADE[attack.name](place)
    told = capsys.readouterr()
    lines = f"{told.out}{told.err}{said}".splitlines()
    assert [line for line in lines if re.search(attack.says, line)], "\n".join(lines)
    assert not [line for line in lines if "Traceback" in line or "all holds" in line], "\n".join(lines)
    if place.adapter.exists():
        assert "exit code 0" not in said


def test_a_store_that_nobody_touched_is_taken_from(place: Place) -> None:
    said = place.project().again()
    assert "from the store" in said and "exit code 0" in said


def test_a_state_that_this_builder_left_is_taken_up(place: Place) -> None:
    """And the attestation says at which step."""
    said = _resumed(lambda state: None)(place)
    assert "resumed at step 7" in said and "exit code 0" in said
    [run] = read_statement(place.folder / "results/lineage/copy.json")["predicate"]["runDetails"]["byproducts"]
    assert run["annotations"]["resumed"]["step"] == 7 and run["annotations"]["resumed"]["signed"] is True
    assert not [*place.folder.glob("results/.kept/*"), *place.folder.glob("results/.attempts/*.mac")]


def test_an_output_keeps_no_mode_that_runs_as_another(place: Place) -> None:
    assert "exit code 0" in place.project().step("--always", "--setting", "fails", "mode")
    assert (place.folder / "results/out.txt").stat().st_mode & 0o7002 == 0


@pytest.mark.parametrize("settled", [False, True])
def test_an_input_altered_in_place_with_its_clock_put_back_is_attested_as_it_is(place: Place, settled: bool) -> None:
    place.project()
    source = place.folder / "in.txt"
    if settled:
        os.utime(source, (1e9, 1e9))
        place.step("--always")
    before = source.stat()
    with open(source, "r+b") as file:
        file.write(b"IN")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = place.step()
    assert "exit code 0" in said and "from the store" not in said
    found = read_statement(place.folder / "results/lineage/copy.json")["predicate"]["buildDefinition"]
    digests = {item["name"]: item["digest"].get("sha256") for item in found["resolvedDependencies"]}
    assert digests["in.txt"] == file_digest(source)
    assert (place.folder / "results/out.txt").read_bytes() == source.read_bytes()[:64]


def test_an_input_that_is_touched_while_its_step_runs_is_the_same(place: Place) -> None:
    assert "exit code 0" in _while_it_runs(place, lambda file: file.touch())


def test_a_digest_cache_that_lies_is_not_signed(place: Place) -> None:
    place.project()
    os.utime(place.folder / "in.txt", (1e9, 1e9))
    place.step("--always")
    [entry] = [path for path in (place.folder / "results/.digests").iterdir() if len(path.name) == 64]
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "sha256": "0" * 64}))
    said = place.step("--always")
    assert "error: copy: in.txt: altered while its step ran, or since it was hashed" in said and "exit code 2" in said


def test_a_sound_adapter_holds(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.staged().trusting() == "exit code 0\n"
    assert capsys.readouterr().out.endswith(": all holds\n")


def test_every_row_is_tried() -> None:
    assert {attack.name for attack in attacks("store")} == set(MADE)
