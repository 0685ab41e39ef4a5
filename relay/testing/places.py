"""`Places`: free ports, a directory and a secret for a relay, its edges and its emitters."""

import secrets
import socket
from collections import deque
from pathlib import Path

from edge.core.identity.tokens import Tokens

HELD_PORTS = 256
_held: deque[socket.socket] = deque(maxlen=HELD_PORTS)
"""Sockets bound to the ports that `free_ports` returned last."""


def free_ports(count: int) -> list[int]:
    """Return TCP ports that no other process gets from its kernel or from this function.

    A socket stays bound to each port. It does not listen and allows the address to be used again,
    so a server can listen there; but the kernel gives the port to nobody else, neither to a test
    in a parallel process nor to an outgoing connection.
    """
    ports = []
    for _ in range(count):
        holder = socket.socket()
        holder.bind(("127.0.0.1", 0))
        # Only now: two sockets that allow it before they are bound could get the same port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
        ports.append(holder.getsockname()[1])
    return ports


class Places:
    """Where a relay, its edges and its emitters find each other, and their settings for that."""

    def __init__(self, directory: Path) -> None:
        ingress, egress, control = free_ports(3)
        self.ingress = f"tcp://127.0.0.1:{ingress}"
        self.egress = f"tcp://127.0.0.1:{egress}"
        self.control = f"tcp://127.0.0.1:{control}"
        secret = secrets.token_hex(32)
        self.tokens = Tokens(secret)
        self.env = {
            "RELAY_INGRESS": self.ingress,
            "RELAY_EGRESS": self.egress,
            "RELAY_CONTROL": self.control,
            "RELAY_DATA_DIR": str(directory / "relay"),
            "EDGE_RELAY_EGRESS": self.egress,
            "EDGE_RELAY_CONTROL": self.control,
            "EDGE_DATA_DIR": str(directory / "edge"),
            "EDGE_JWT_SECRET": secret,
            "EMITTER_RELAY_INGRESS": self.ingress,
            "EMITTER_RELAY_CONTROL": self.control,
        }
        """The variables of the environment that make all programs belong together."""
