"""Access of another user: what is said is what the kernel does, and the model store lets servers read."""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_step import COPY, command, project, step  # noqa: F401 - fixtures

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.access import READ, SEARCH, WRITE, Reader
from adapter_build.hermetic.sandbox import Mount, check_readable
from adapter_build.nim import container as nim_container
from adapter_build.nim.container import check_layout, prepare_cache
from adapter_build.workflow.writable_checkout import WRITTEN

TRY = Path(__file__).with_name("try_access.py").read_text()  # that user may not enter this folder
STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to other users and to be those")


@pytest.fixture(scope="module")
def open_folder():
    """A folder that other users may enter, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="access-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


MODES = st.tuples(
    st.integers(0, 0o777), st.sampled_from([0, 1000, STRANGER]), st.sampled_from([0, 1000, 44]),
    st.sampled_from([READ, WRITE, SEARCH, READ | SEARCH, READ | WRITE | SEARCH]),
)  # fmt: skip


@as_root
@settings(derandomize=True, deadline=None, max_examples=4)
@given(st.lists(MODES, min_size=60, max_size=60), st.sampled_from([[], [44]]))
def test_what_is_said_is_what_the_kernel_does(open_folder, modes, groups):
    asked = []
    for number, (mode, uid, gid, bits) in enumerate(modes):
        path = open_folder / str(number)
        path.touch()
        os.chown(path, uid, gid)
        path.chmod(mode)
        asked.append((bits, path))
    lent = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    done = subprocess.run(
        ["setpriv", "--reuid", "1000", "--regid", "1000", *lent, "/usr/bin/env", "python3", "-c", TRY],
        input="".join(f"{bits} {path}\n" for bits, path in asked), capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    reader = Reader(1000, frozenset([1000, *groups]))
    assert [reader.may(path, bits) for bits, path in asked] == [line == "1" for line in done.stdout.split()]


@as_root
def test_an_access_control_list_is_not_judged(open_folder):
    path = open_folder / "listed"
    path.touch(0o600)
    assert not Reader(STRANGER, frozenset()).may(path, READ)
    # Version 2; the owner rw, the stranger r, the group nothing, the mask r, others nothing: setfacl -m u:12345:r
    entries = ((1, 6, 2**32 - 1), (2, 4, STRANGER), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", content)
    except OSError as error:
        pytest.skip(f"a file system without access control lists: {error}")
    assert Reader(STRANGER, frozenset()).may(path, READ)


@pytest.fixture
def store(tmp_path):
    """A model store with one adapter, which everybody may read."""
    law = tmp_path / "loras/law"
    law.mkdir(parents=True)
    for path in (law.parent, law):
        path.chmod(0o755)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (law / name).write_text("{}")
        (law / name).chmod(0o644)
    return law


@pytest.mark.parametrize(
    ("part", "mode", "mend"),
    [
        ("..", 0o700, "chmod a+rx {store}"),
        ("..", 0o750, "chmod a+rx {store}"),
        (".", 0o700, "chmod -R a+rX {law}"),
        (".", 0o744, "chmod -R a+rX {law}"),
        ("adapter_model.safetensors", 0o600, "chmod -R a+rX {law}"),
        ("adapter_config.json", 0o640, "chmod -R a+rX {law}"),
    ],
)
def test_what_nim_may_not_read_is_named_with_the_chmod(store, part, mode, mend, monkeypatch):
    monkeypatch.setattr(nim_container, "NIM", Reader(STRANGER, frozenset([STRANGER])))
    reader = nim_container.NIM
    check_layout(2, store, reader)
    path = store.parent if part == ".." else store / part
    path.chmod(mode)
    with pytest.raises(BadInput) as refused:
        check_layout(2, store, reader)
    told = f"{path}: not readable for uid {STRANGER}, which NIM runs as (mode {mode:o}, of uid {os.getuid()}): "
    assert str(refused.value) == told + mend.format(store=store.parent, law=store)
    subprocess.run(["bash", "-c", mend.format(store=store.parent, law=store)], check=True)
    check_layout(2, store, reader)
    path.chmod(mode)
    check_layout(2, store, Reader(os.getuid(), frozenset()))  # its owner's, as with a rootless engine


@as_root
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_cache_is_nims_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        cache = prepare_cache(tmp_path / "cache")
    finally:
        os.umask(before)
    assert cache.stat().st_uid == 1000
    (cache / "hub").mkdir()
    (cache / "hub/weights").write_text("")
    (cache / "hub/weights").chmod(0o600)  # by an earlier NIM that ran as root
    with pytest.raises(BadInput) as refused:
        prepare_cache(cache)
    assert str(refused.value) == (
        f"deploy.nim.cache: {cache}/hub/weights is not readable for uid 1000, which NIM runs as (mode 600, of uid 0): "
        f"sudo chown -R 1000 {cache}"
    )
    subprocess.run(["chown", "-R", "1000", cache], check=True)
    prepare_cache(cache)
    cache.chmod(0o500)
    with pytest.raises(BadInput, match="is not writable for uid 1000"):
        prepare_cache(cache)


def test_an_input_that_only_root_outside_may_read_is_named(tmp_path):
    (tmp_path / "in").write_text("")
    (tmp_path / "in").chmod(0o640)
    shown = [Mount(tmp_path / "in", Path("/in")), Mount(tmp_path / "out", Path("/out"), writable=True)]
    check_readable(shown, Reader(os.getuid(), frozenset()))
    check_readable(shown, Reader(STRANGER, frozenset([(tmp_path / "in").stat().st_gid])))
    with pytest.raises(BadInput, match=rf"in: not readable for the step, which runs as uid {STRANGER} .*chmod o\+r"):
        check_readable(shown, Reader(STRANGER, frozenset()))


@as_root
def test_root_with_a_strangers_private_file(step, project):  # noqa: F811
    """In bubblewrap root has no power over others' files: said before the step, not by its traceback."""
    os.chown(project / "in.txt", STRANGER, STRANGER)
    (project / "in.txt").chmod(0o600)
    done = step(COPY)
    if not shutil.which("bwrap"):
        pytest.skip("needs bubblewrap: apt-get install bubblewrap")
    assert done.returncode == 2 and f"{project}/in.txt: not readable for the step" in done.stderr
    assert done.stderr.count("\n") == 1
    (project / "in.txt").chmod(0o604)
    assert step(COPY).returncode == 0


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_a_staged_adapter_is_for_servers_to_read_and_nothing_else_is(project, umask):  # noqa: F811
    (project / "scripts/copy_text.py").write_text(COPY)
    words = command("copy_text.py", "--bundle", "results/loras/law")
    words[words.index("results/out.txt")] = "results/loras/law/adapter_model.safetensors"
    done = subprocess.run(words, cwd=project, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    law = project / "results/loras/law"
    (law / "adapter_config.json").touch(0o644)
    (law / "adapter_config.json").chmod(0o644)
    check_layout(2, law, Reader(STRANGER, frozenset()))
    assert (project / "results").stat().st_mode & 0o777 == 0o777 & ~umask


WITHOUT_POWER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")  # as root, over others' files


@as_root
@pytest.mark.parametrize("part", [".", "results", ".snakemake"])
def test_a_checkout_that_another_user_owns(tmp_path, part):
    tmp_path.chmod(0o755)
    for name in WRITTEN if part != "." else ():
        (tmp_path / name).mkdir()
    command = [
        *WITHOUT_POWER,
        "env",
        f"PYTHONPATH={ROOT}",
        sys.executable,
        "-B",
        "-m",
        "adapter_build.cli.check_writable",
    ]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    os.chown(tmp_path / part, STRANGER, STRANGER)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == (
        f"error: {tmp_path / part}: not writable for uid 0, uid {STRANGER} owns it: sudo chown -R 0 {tmp_path}, or "
        "build in a clone of your own\n"
    )
    os.chown(tmp_path, STRANGER, STRANGER)
    os.chown(tmp_path / part, 0, 0)
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0, "it writes in these folders alone"
