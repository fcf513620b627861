"""A real S3 server on loopback, moto's, with one bucket."""

import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from conftest import ROOT
from docker_fixtures import wait_until

SERVER = ROOT / ".venvs/checks/bin/moto_server"
BUCKET = "adapters"
NOBODY = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the bucket's URL; the variables of this process say how to reach it, as a user's shell would."""
    if not SERVER.exists():
        pytest.skip(f"{SERVER.name} is missing: .venvs/workflow/bin/snakemake --cores 2 environments makes it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    for name, value in {**NOBODY, "AWS_ENDPOINT_URL": address, "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of an earlier test's server
    log = tmp_path / "s3.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=subprocess.STDOUT, env=dict(os.environ)
        )
        try:
            make = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
            wait_until(lambda: urllib.request.urlopen(make).status == 200, log.read_text)
            yield f"s3://{BUCKET}"
        finally:
            server.terminate()
            server.wait(30)
