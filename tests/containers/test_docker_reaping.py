"""Containers that a step removes: those of killed runners on this host, and no others."""

import io
import socket
import tarfile

import pytest
from docker import APIClient

from adapter_build.hermetic import docker
from adapter_build.hermetic.attempt import attempt

pytestmark = [pytest.mark.slow, pytest.mark.containers]


@pytest.fixture
def client(engine, tmp_path, monkeypatch):
    """The engine's client, in a checkout of its own."""
    monkeypatch.chdir(tmp_path)
    made = APIClient(base_url=engine.address)
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w"):
        pass
    made.import_image_from_data(empty.getvalue(), repository="empty", tag="test")
    yield made
    for container in made.containers(all=True):
        made.remove_container(container["Id"], force=True)
    made.close()


def test_only_the_containers_of_killed_runners_here(client, tmp_path):
    here = socket.gethostname()

    def container(lock=None, host=here):
        labels = {docker.LABEL: str(lock), f"{docker.LABEL}.host": host} if lock else {}
        return client.create_container("empty:test", ["none"], labels=labels)["Id"]

    with attempt("live") as live:
        dead = live.lock.with_name("dead-x.lock")
        dead.write_text(live.lock.read_text())  # of this machine, and held by nobody
        elsewhere = live.lock.with_name("elsewhere-x.lock")
        elsewhere.write_text("node7 5c0b4b5e 1\n")
        reaped = {"killed": container(dead), "gone": container(live.lock.with_name("gone-x.lock"))}
        kept = {
            "alive": container(live.lock),
            "of another host": container(dead, host="node7"),
            "of another machine of this name": container(elsewhere),
            "in a checkout that cannot be seen from here": container(tmp_path / "hidden/results/.attempts/x.lock"),
            "nobody's": container(),
        }
        docker.reap(client)
        left = {found["Id"] for found in client.containers(all=True)}
    assert not left & set(reaped.values())
    assert {name for name, identity in kept.items() if identity not in left} == set()
