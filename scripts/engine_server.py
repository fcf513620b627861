"""The embedded engine as whoever started it sees it: where it serves, which adapters, whether it still runs."""

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from faults import BadInput

SECONDS_TO_LOAD = 300  # an adapter, while it answers others


@dataclass(frozen=True)
class Server:
    """A server that is ready, at `url`; `version` is the engine's, `channel` leads to its EngineAdapters."""

    url: str
    version: str
    process: subprocess.Popen[bytes]
    channel: BinaryIO

    def serve(self, name: str, folder: Path | None) -> str | None:
        """Serve the adapter in `folder` under `name` from now on, or, for None, none; return why it is not taken.

        The folder is the engine's from here on: it is deleted when the adapter is served no more. Raises `BadInput`
        where the engine does not answer.
        """
        told = {"name": name, "folder": str(folder) if folder else None}
        try:
            self.channel.write(json.dumps(told).encode() + b"\n")
            self.channel.flush()
            return json.loads(self.channel.readline())["error"]
        except (OSError, ValueError):
            raise BadInput("the embedded engine takes no adapters any more: see its log, start it again") from None

    def wait(self, seconds: float | None = None) -> None:
        """Wait, for ever without `seconds`. A server that ends by itself raises `BadInput`, a signal ends the wait."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise BadInput(f"the embedded engine ended by itself with exit code {code}: start it again")
