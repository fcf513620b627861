"""Ports of this machine for servers, on loopback unless another address is asked for."""

import contextlib
import errno
import socket

from adapter_build.core.faults import BadInput

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # every address of this machine
WAITING = 128  # connections that may wait to be accepted


def listening(port: int, host: str = HOST) -> socket.socket:
    """Return a socket that listens on `port`, or on any free port for 0. Raises `BadInput` if it is taken."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING)
    except (OSError, OverflowError) as error:
        listener.close()
        foreign = getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        mend = (
            "deploy.embedded.host to an address of this machine"
            if foreign
            else "deploy.port to a free port, or 0 for any"
        )
        raise BadInput(f"port {port} on {host}: {error}: set {mend}") from None
    return listener


def free_port(port: int, host: str = HOST) -> int:
    """Return `port`, or any free port for 0, of the address `host`. Raises `BadInput` if it is taken."""
    with contextlib.closing(listening(port, host)) as listener:
        return listener.getsockname()[1]
