"""Files, calls and sockets that a step may not reach, and a machine's refusals: by the real runner, with twins."""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_table import Attack, attacks
from conftest import START
from held_steps_of import WAYS, Project, Way, needed
from refusing_machines import FILES, MACHINES, NOTHING_HOLDS, OWN, WRITES, writing

from adapter_build.hermetic import bubblewrap
from adapter_build.hermetic.envelope import read_statement

# What a step tries: a Python expression. `runner` is the process that runs the test, `folder` the project.
pytestmark = pytest.mark.slow
TRIED = {
    "write to the system": "open('/usr/attacked', 'w')",
    "mount the system writable": "call('mount', b'none', b'/usr', None, 0x1020, None)",
    "mount by the newer calls": "call('open_tree', -100, b'/usr', 1)",
    "change a mount's attributes": "call('mount_setattr', -100, b'/usr', 0, None, 0)",
    "unmount": "call('umount2', b'/proc', 2)",
    "change the root": "call('chroot', b'/')",
    "pivot the root": "call('pivot_root', b'/', b'/')",
    "a user namespace": "call('unshare', 0x10000000)",
    "a mount namespace": "call('unshare', 0x20000)",
    "a namespace of a child": "call(ARCHITECTURES[platform.machine()][2][0], 0x10000011, 0, 0, 0, 0)",
    "a namespace by flags in memory": "call(435, None, 88)",
    "join a namespace": "call('setns', os.open('/proc/self/ns/mnt', 0), 0)",
    "the kernel's keyring": "call('keyctl', 0, -3, 0)",
    "add a key": "call('add_key', b'user', b'a', b'b', 1, -3)",
    "a program for the kernel": "call('bpf', 0, None, 0)",
    "count the machine's events": "call('perf_event_open', None, 0, -1, -1, 0)",
    "handle faults of memory": "call('userfaultfd', 0)",
    "a ring of calls": "call('io_uring_setup', 1, None)",
    "a file by its number": "call('open_by_handle_at', -100, None, 0)",
    "load a module": "call('init_module', None, 0, b'')",
    "another kernel": "call('kexec_load', 0, 0, None, 0)",
    "end the machine": "call('reboot', 0, 0, 0, None)",
    "set the clock": "call('clock_settime', 0, None)",
    "read the kernel's log": "call('syslog', 10, None, 0)",
    "a call of kernels to come": "call(9999)",
    "a call of 32-bit programs": "ctypes.CFUNCTYPE(int)(code_of(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3'))()",
    "a call of x32": "call(0x40000000 + 39)",
    "look into the runner": "call('ptrace', 16, os.getppid(), None, None)",
    "read the runner's memory": "call('process_vm_readv', runner, None, 0, None, 0, 0)",
    "take the runner's files": "call('pidfd_getfd', 0, 0, 0)",
    "open the runner's memory": "open(f'/proc/{runner}/mem', 'rb')",
    "the runner's variables": "open(f'/proc/{runner}/environ').read()",
    "anybody's variables": "secrets_of_others()",
    "the machine behind a process": "open(f'/proc/{runner}/root/etc/shadow').read()",
    "end the runner": "os.kill(runner, 0)",
    "type into a terminal": "__import__('fcntl').ioctl(0, 0x5412, b'x')",
    "paste into a console": "__import__('fcntl').ioctl(0, 0x541c, b'x')",
    "memory that runs": "call(ARCHITECTURES[platform.machine()][2][2], 0x0400000)",
    "the program that the kernel calls": "open('/proc/sys/kernel/core_pattern', 'r+').write('|/out/attack')",
    "the machine's magic keys": "open('/proc/sysrq-trigger', 'w')",
    "the system's passwords": "open('/etc/shadow').read()",
    "an undeclared file": "(folder / 'undeclared.txt').read_text()",
    "the builder's key": "(folder / '.keys/builder.pem').read_text()",
    "the results of others": "open(folder / 'results/other.json', 'w')",
    "the store": "open(folder / '.store/object', 'w')",
    "its own script": "open(sys.argv[0], 'r+')",
    "a module for later steps": "pathlib.Path('scripts/json.py').write_text('')",
    "its input": "open(tried, 'r+')",
    "cut its input short": "os.truncate(tried, 0)",
    "remove its input": "tried.unlink()",
    "another file for its input": "pathlib.Path(os.environ['TMPDIR'], 'x').rename(tried)",
    "its input under another name": "os.link(tried, pathlib.Path(arguments.told).with_name('linked'))",
    "its environment's Python": "open(os.path.join(os.path.dirname(sys.executable), 'sitecustomize.py'), 'w')",
    "a device": "os.mknod(os.path.join(os.environ['TMPDIR'], 'disk'), 0o60600, os.makedev(8, 0))",
    "a disk": "open(next(iter([str(p) for p in pathlib.Path('/dev').glob('[vsn][dv][am]*')]), '/dev/sda'), 'rb')",
    "the memory of the machine": "open('/dev/mem', 'rb')",
    "shared memory of others": "open('/dev/shm/attacked-' + str(runner)).read()",
    "another machine": "socket.create_connection(('192.0.2.1', 80), 3)",
    "a name server": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))",
    "the machine's own servers": "socket.create_connection(('127.0.0.1', int(arguments.open)), 3)",
    "a socket in a file": "socket.socket(socket.AF_UNIX).connect(str(folder / 'socket'))",
    "a socket without a file": "socket.socket(socket.AF_UNIX).connect(chr(0) + 'attacked-' + str(runner))",
    "packets by hand": "socket.socket(17, 3, 3)",
    "the virtual machine's host": "socket.socket(40, 1, 0)",
    "the kernel's ciphers": "socket.socket(38, 5, 0)",
    "a program of root's": "os.setuid(0 if os.getuid() else 1)",
    "a group of others": "os.setgroups([0, 42])",
    "give a file away": "os.chown(os.open(os.path.join(os.environ['TMPDIR'], 'g'), 66), 1, 1)",
    "the machine's name": "call('sethostname', b'x', 1)",
}  # fmt: skip
TRIES = Path(__file__).with_name("try_attempts.py").read_text()
# What a step is for, and must go on to do: the twin.
ALLOWED = {
    "read its input": "len(tried.read_text()) > 10",
    "write to its scratch": "pathlib.Path(os.environ['TMPDIR'], 'x').write_text('x')",
    "write to its home": "pathlib.Path(os.environ['HOME'], 'x').write_text('x')",
    "start a program": "subprocess.check_output(['/bin/echo', 'x'])",
    "start a process": "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
    "start threads": "[t.start() for t in [__import__('threading').Thread(target=int) for _ in range(4)]]",
    "a lock between processes": "__import__('multiprocessing').Lock()",
    "ciphers": "__import__('ssl').create_default_context()",
    "which processors": "len(os.sched_getaffinity(0)) and len(os.listdir('/sys/devices/system/cpu'))",
    "its own memory's size": "open('/proc/self/statm').read() and open('/proc/meminfo').read()",
    "interfaces": "socket.if_nameindex()",
    "map memory": "__import__('mmap').mmap(-1, 4096)",
    "end its children": "(lambda child: (child.kill(), child.wait()))(subprocess.Popen(['sleep', '9']))",
    "no power": "[l for l in open('/proc/self/status') if l.startswith(('CapEff', 'NoNewPrivs', 'Seccomp:'))]",
    "rename": "(lambda a: (a.write_text('x'), a.rename(a.with_name('z'))))(pathlib.Path(os.environ['TMPDIR'], 'y'))",
    "change a mode": "(lambda a: (a.write_text('x'), a.chmod(0o600)))(pathlib.Path(os.environ['TMPDIR'], 'm'))",
}


@contextlib.contextmanager
def bait(folder: Path) -> Iterator[int]:
    """Offer what others on this machine have: servers, sockets, memory; return the server's port."""
    memory = Path(f"/dev/shm/attacked-{os.getpid()}")
    memory.write_text("theirs")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as file,
        socket.socket(socket.AF_UNIX) as abstract,
        contextlib.chdir(folder),
    ):
        file.bind("socket")
        file.listen()
        abstract.bind(f"\0attacked-{os.getpid()}")
        abstract.listen()
        try:
            yield server.getsockname()[1]
        finally:
            memory.unlink()
            (folder / "socket").unlink()


@pytest.fixture(scope="session", params=WAYS, ids=lambda way: way.name)
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outcome of every attempt, and of each that is allowed, in one step that is held one way."""
    way = request.param
    needed(way)
    place = tmp_path_factory.mktemp("held")
    for above in (place, place.parent, place.parent.parent):
        above.chmod(above.stat().st_mode | 0o055)
    project = Project(place / "project", way.ordinary)
    (project.folder / "in.json").write_text(json.dumps({**ALLOWED, **TRIED}))
    with bait(project.folder) as port:
        done = project.step(
            TRIES, "--input", "tried", "in.json", "--output", "told", "results/told.json",
            "--param", "open", str(port), "--param", "runner", str(os.getpid()),
            "--param", "folder", str(project.folder), way=way,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((project.folder / "results/told.json").read_text())
    run = read_statement(project.folder / "results/lineage/try.json")["predicate"]["runDetails"]["byproducts"][0]
    return {**told, "isolation": run["annotations"]["isolation"], "way": way.name}


def test_a_step_can_do_what_it_is_for(tried):
    """The twin: threads, processes, locks, its own files; and what it may not do is not told by accident."""
    for name in ALLOWED:
        assert tried[name].startswith("done: "), (tried["way"], name, tried[name])
    powers = re.sub(r"\\[tn]", " ", tried["no power"])
    assert "CapEff: 0000000000000000" in powers and "NoNewPrivs: 1" in powers and "Seccomp: 2" in powers
    kind = "bubblewrap" if "bubblewrap" in tried["way"] else "landlock abi "
    assert tried["isolation"].startswith(kind)
    assert ("/dev/shm is shared" in tried["isolation"]) == tried["way"].endswith("bare")


MADE = {**dict.fromkeys(TRIED), **MACHINES}


@pytest.mark.parametrize("attack", [a for a in attacks("isolation") if a.name in TRIED], ids=lambda attack: attack.name)
def test_a_step_is_held(tried, attack: Attack):
    if attack.name == "shared memory of others" and "/dev/shm is shared" in tried["isolation"]:
        pytest.skip("left open, and said so")
    assert re.search(attack.says, tried[attack.name]), (tried["way"], tried[attack.name])
    assert not tried[attack.name].startswith("done")


@pytest.mark.parametrize(
    "attack", [a for a in attacks("isolation") if a.name in MACHINES], ids=lambda attack: attack.name
)
def test_a_machine_that_refuses_is_told_in_one_line(attack: Attack, tmp_path: Path):
    with MACHINES[attack.name](tmp_path) as done:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode and len(lines) == 1 and re.search(attack.says, lines[0]), done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "project/results/out.txt").exists()
        assert not list((tmp_path / "project").glob("results/.attempts/*/"))


def test_the_same_machine_with_room_takes_it(tmp_path: Path):
    """The twin: what was too much for the others."""
    project = Project(tmp_path / "project", ordinary=False)
    for how in ("plainly", "as_archive"):
        done = project.step(WRITES, *writing(how), way=OWN)
        assert done.returncode == 0, done.stderr
        assert (project.folder / "results/out.txt").stat().st_size >= 4_000_000


def test_a_machine_that_holds_steps_to_nothing_says_so(tmp_path: Path):
    """Without bubblewrap, on a kernel without Landlock: built, unless isolation: required."""
    project = Project(tmp_path / "project", ordinary=False)
    done = project.step(WRITES, *writing(), way=NOTHING_HOLDS)
    assert done.returncode == 0, done.stderr
    run = read_statement(project.folder / "results/lineage/try.json")["predicate"]["runDetails"]["byproducts"][0]
    assert run["annotations"]["isolation"] == "none"
    if bubblewrap.works():
        assert project.step(WRITES, *writing(), way=OWN, STEP_ISOLATION="required").returncode == 0


def test_an_undeclared_file_is_named_with_its_declaration(tmp_path: Path):
    """By Landlock as by bubblewrap, and the twin that declares it passes."""
    project = Project(tmp_path / "project", ordinary=False)
    reads = START + "copy.write_text(pathlib.Path(arguments.more or 'undeclared.txt').read_text())\n"
    for way in (OWN, Way("landlock", False, False)):
        with contextlib.suppress(pytest.skip.Exception):
            needed(way)
            done = project.step(reads, *FILES, way=way)
            assert done.returncode == 2 and "add --input NAME undeclared.txt to its rule" in done.stderr, done.stderr
            writes = START + "pathlib.Path('other.txt').write_text('x')\n"
            done = project.step(writes, *FILES, way=way)
            assert done.returncode == 2, done.stderr
            assert "add --output NAME other.txt" in done.stderr, done.stderr
            done = project.step(reads, *FILES, "--input", "more", "undeclared.txt", way=way)
            assert done.returncode == 0, done.stderr
            (project.folder / "results/out.txt").unlink()
