"""A port of this machine that a server can have, on loopback unless another address is asked for."""

import errno
import socket

from faults import BadInput

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # every address of this machine


def free_port(port: int, host: str = HOST) -> int:
    """Return `port`, or any free one for 0, of the address `host`. Raises `BadInput` if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            foreign = getattr(error, "errno", None) == errno.EADDRNOTAVAIL
            mend = (
                "deploy.embedded.host to an address of this machine"
                if foreign
                else "deploy.port to a free port, or 0 for any"
            )
            raise BadInput(f"port {port} on {host}: {error}: set {mend}") from None
        return probe.getsockname()[1]
