"""Curator's stages on Ray: on this machine's processors, or on every node of the step's Slurm job."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Generator
from pathlib import Path

from adapter_build import ROOT

os.environ["PYTHONPATH"] = str(ROOT)  # workers load our stages by their modules' names
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_AUTH_MODE"] = "token"  # without it some of Ray's commands send none
os.environ["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # noqa: SIM112 - how long a node looks for a head that ended; 60 by default

import ray
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.core.client import SlurmRayClient

OBJECT_STORE = 512 * 2**20  # bytes of shared memory on each node; a partition has a few MB


@contextlib.contextmanager
def ray_executor(threads: int, nodes: int) -> Generator[RayDataExecutor]:
    """Start Ray with `threads` processors on each of `nodes` nodes, and end it.

    With several nodes, Slurm's srun starts the same script on each. The executor is yielded on the first node alone: on
    the others this call serves the first as a Ray worker until it is done, and then ends the process.
    """
    # Not in TMPDIR: a socket's path has at most 107 characters, and no other node needs it.
    sockets = os.environ.get("STEP_SOCKETS", "/tmp")
    with tempfile.TemporaryDirectory(prefix="ray-", dir=sockets, ignore_cleanup_errors=True) as folder:
        if nodes > 1:
            with _on_slurm(threads, folder):
                yield RayDataExecutor()
            return
        ray.init(
            address="local",
            num_cpus=threads,
            num_gpus=0,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        try:
            yield RayDataExecutor()
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _on_slurm(threads: int, folder: str) -> Generator[None]:
    shared = Path(os.environ["TMPDIR"]) / "ray"
    shared.mkdir(exist_ok=True)
    os.environ["RAY_PORT_BROADCAST_DIR"] = str(shared)
    # The step may have fewer nodes than its job, which may run several.
    os.environ["SLURM_JOB_NODELIST"] = os.environ["SLURM_STEP_NODELIST"]
    # Ray admits clients that know its token, which it looks for in HOME; every node has a HOME of its own.
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token := shared / "token")
    if os.environ["SLURM_NODEID"] == "0":
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
    client = SlurmRayClient(
        ray_temp_dir=folder,
        include_dashboard=False,
        ray_dashboard_host="127.0.0.1",
        num_cpus=threads,
        num_gpus=0,
        object_store_memory=OBJECT_STORE,
        cleanup_on_start=False,  # it would end every Ray of this user on the node, another step's too
    )
    try:
        client.start()
    except SystemExit:
        # Ray exits so on a node whose head has ended, and the head removes the file before it ends.
        if not any(shared.glob("ray_head_port_*")):
            raise SystemExit(0) from None
        raise
    try:
        yield
    finally:
        client.stop()
