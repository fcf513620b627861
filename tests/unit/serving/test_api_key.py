"""The key of the embedded engine's clients: shown to the server asked, and to no other that it points to."""

from collections.abc import Iterator

import pytest
from loopback_server import Quiet, serving

from adapter_build.core.faults import BadInput
from adapter_build.serving.api_key import KEY
from adapter_build.serving.inference_client import get

SECRET = "k3y-of-these-tests-alone"
seen: dict[str, str | None] = {}


class Pointing(Quiet):
    """Answers /to/PORT by pointing to that port, and anything else with {}."""

    def do_GET(self) -> None:
        seen[self.path] = self.headers["Authorization"]
        _, _, port = self.path.partition("/to/")
        self.send_response(302 if port else 200)
        self.send_header("location", f"http://127.0.0.1:{port}/there")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def url() -> Iterator[str]:
    """A server that points to another one, at this path."""
    seen.clear()
    with serving(Pointing) as here, serving(Pointing) as there:
        yield f"http://127.0.0.1:{here.server_port}/to/{there.server_port}"


def test_the_key_is_shown_to_the_server_asked_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    assert get(url, "") == (200, {})
    assert [value for path, value in seen.items() if path != "/there"] == [f"Bearer {SECRET}"]
    assert seen["/there"] is None


def test_without_a_key_none_is_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    assert get(url, "") == (200, {})
    assert set(seen.values()) == {None}


def test_a_key_that_no_header_holds_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, and without showing it."""
    monkeypatch.setenv(KEY, "two lines\nof a key that is long enough")
    with pytest.raises(BadInput, match=f"^{KEY}: it takes 16 to 256") as fault:
        get(url, "")
    assert "two lines" not in str(fault.value) and seen == {}
