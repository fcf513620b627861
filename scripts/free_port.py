"""A port of this machine's loopback that a server can have."""

import socket

from faults import BadInput

HOST = "127.0.0.1"


def free_port(port: int) -> int:
    """Return `port`, or any free one for 0. Raises `BadInput` if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            raise BadInput(f"port {port} on {HOST}: {error}: set deploy.port to a free port, or 0 for any") from None
        return probe.getsockname()[1]
