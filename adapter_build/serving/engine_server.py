"""Handle to a running embedded engine: where it serves, which adapters, whether it still runs."""

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adapter_build.core.faults import BadInput
from adapter_build.serving.engine_health import REASON

SECONDS_TO_LOAD = 300  # an adapter, while it answers others


class EngineEnded(BadInput):
    """The engine ended by itself; the message says how."""


@dataclass(frozen=True)
class Server:
    """A server that is ready, at `url`; `version` is the engine's, `channel` leads to its EngineAdapters."""

    url: str
    version: str
    process: subprocess.Popen[bytes]
    channel: BinaryIO
    folder: Path  # its working directory

    def serve(self, name: str, folder: Path | None) -> str | None:
        """Serve the adapter in `folder` under `name` from now on, or, for None, none; return why it is not taken.

        The folder is the engine's from here on: it is deleted when the adapter is served no more. Raises `EngineEnded`
        where the engine does not answer.
        """
        return self._tell(name, str(folder) if folder else None)

    def open(self) -> None:
        """Answer clients from now on: the adapters that there are have been told. Raises `EngineEnded`."""
        self._tell(None, None)

    def _tell(self, name: str | None, folder: str | None) -> str | None:
        try:
            self.channel.write(json.dumps({"name": name, "folder": folder}).encode() + b"\n")
            self.channel.flush()
            return json.loads(self.channel.readline())["error"]
        except (OSError, ValueError):
            raise EngineEnded(self._reason() or "the embedded engine takes no adapters any more: see its log") from None

    def wait(self, seconds: float | None = None) -> None:
        """Wait, for ever without `seconds`. A server that ends by itself raises `EngineEnded`, a signal ends it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
            raise EngineEnded(self._reason() or f"the embedded engine {how}")

    def _reason(self) -> str:
        """Return why the engine ended itself, if it did."""
        try:
            return f"the embedded engine: {(self.folder / REASON).read_text(encoding='utf-8')}"
        except OSError:
            return ""
