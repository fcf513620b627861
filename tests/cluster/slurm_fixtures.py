"""A real Slurm on loopback: munge, slurmctld and three nodes, of which n3 alone has a GPU, if only a pretended one."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from docker_fixtures import wait_until
from skipped import wanting

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
NODES = ("n1", "n2", "n3")
PROFILE = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")
# Where jobs find it whatever their environment: the plugin strips SLURM_CONF from it.
CONFIGURATION = Path("/etc/slurm/slurm.conf")
SETTINGS = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=15
KillWait=2
MinJobAge=3600
OverTimeLimit=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes=n3 MaxTime=1440 State=UP
"""
MARK = "SLURM_OF_THE_TESTS"
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 Boards=1 SocketsPerBoard=1"
    " CoresPerSocket=2 ThreadsPerCore=1 RealMemory=16000"
)


@dataclass
class Slurm:
    """A running cluster; its daemons by name, each of which a test may kill and start again."""

    folder: Path
    seen: int = 0  # the last job of earlier tests
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start `munge`, `slurmctld` or one node's slurmd."""
        command = {
            "munge": [
                "munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key",
                f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed",
            ],
            "slurmctld": ["slurmctld", "-D"],
        }.get(name)  # fmt: skip
        # A node's jobs find the others by name, in a file that only they see in the place of the machine's own.
        hosts = 'mount --bind "$0/hosts" /etc/hosts && exec slurmd -D -N "$1"'
        command = command or ["unshare", "--mount", "sh", "-c", hosts, self.folder, name]
        command = ["setpriv", "--pdeathsig", "KILL", *command]  # none outlives the tests, however those end
        with open(self.folder / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a daemon of this cluster by its pid."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:  # a slurmd waits for its jobs' last processes
            daemon.kill()
            daemon.wait()

    def wait_until_idle(self) -> None:
        """Return once every node takes jobs and has none."""
        self.wait_until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%N %t") == "n1 idle\nn2 idle\nn3 idle")

    def wait_until(self, ready: Callable[[], object]) -> None:
        """Return once `ready` is true and raises nothing; fail with the daemons' logs after two minutes."""
        wait_until(ready, self.log, seconds=120)

    def ask(self, *command: str) -> str:
        """Return what one of Slurm's commands prints."""
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def jobs(self) -> dict[str, dict[str, str]]:
        """Return what is known of every job since the test began: `comment` (the rule or group), `state`, `node`."""
        lines = self.ask("squeue", "-h", "-t", "all", "-o", "%i|%k|%T|%N").splitlines()
        rows = [line.split("|") for line in lines]
        return {
            number: dict(zip(("comment", "state", "node"), rest, strict=True))
            for number, *rest in rows
            if int(number) > self.seen
        }

    def log(self) -> str:
        """Return the daemons' logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        """End every daemon, and what dead nodes and jobs out of time left: all that have this cluster's mark."""
        for name in ("slurmctld", *NODES, "munge"):
            if name in self.daemons:
                self.kill(name, signal.SIGTERM)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Start a cluster with everything of its own in one folder, but for the file that names that; stop it by pid."""
    if reason := wanting(*PROGRAMS):
        pytest.skip(reason)
    if os.getuid():
        pytest.skip("needs root, for a Slurm of its own")
    if CONFIGURATION.exists() and not CONFIGURATION.is_symlink():
        pytest.skip(f"{CONFIGURATION}: this machine has a Slurm of its own: run it on one that has none")
    with open("/var/tmp/slurm-tests.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until other tests on this machine have ended
        with running() as started:
            yield started


@contextlib.contextmanager
def running() -> Iterator[Slurm]:
    started = Slurm(Path(tempfile.mkdtemp(prefix="slurm-", dir="/var/tmp")))
    os.environ[MARK] = str(started.folder)  # daemons and jobs inherit it
    try:
        _write_settings(started.folder)
        for name in ("slurm.conf", "gres.conf"):
            link = CONFIGURATION.with_name(name)
            link.unlink(missing_ok=True)  # what a killed test run left
            link.symlink_to(started.folder / name)
        started.start("munge")
        started.wait_until((started.folder / "munge.socket").exists)
        for name in ("slurmctld", *NODES):
            started.start(name)
        started.wait_until_idle()
        yield started
    finally:
        started.stop()
        del os.environ[MARK]
        for name in ("slurm.conf", "gres.conf"):
            CONFIGURATION.with_name(name).unlink(missing_ok=True)
        shutil.rmtree(started.folder, ignore_errors=True)


@pytest.fixture
def cluster(slurm: Slurm) -> Iterator[Slurm]:
    """The cluster for one test: all nodes idle before, every job of the test ended after."""
    slurm.wait_until_idle()
    slurm.seen = max(map(int, slurm.jobs()), default=slurm.seen)
    yield slurm
    for name in ("slurmctld", *NODES):
        if name not in slurm.daemons:
            slurm.start(name)
    slurm.wait_until(lambda: slurm.ask("scontrol", "ping").count("is UP"))
    slurm.ask("scancel", "--user=root")
    slurm.wait_until_idle()


def _write_settings(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    controller, *ports = _free_ports(1 + len(NODES))
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
    nodes[-1] += " Gres=gpu:1"
    (folder / "slurm.conf").write_text(
        SETTINGS.format(host=host, folder=folder, controller=controller, nodes="\n".join(nodes))
    )
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{_address()} {host} {' '.join(NODES)}\n")
    (folder / "gres.conf").write_text("NodeName=n3 Name=gpu File=/dev/null\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    folder.chmod(0o755)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()


def _address() -> str:
    """Return this machine's address as Ray finds it, which takes no other for a node's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 1))  # nothing is sent
        return probe.getsockname()[0]
    return "127.0.0.1"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
