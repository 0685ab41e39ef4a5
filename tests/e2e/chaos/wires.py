"""Proxies between the parts of the stage, and the ways in which they fail."""

import enum
from contextlib import ExitStack
from urllib.parse import urlsplit

from tests.support.cluster import Cluster
from tests.support.tcp_proxy import TcpProxy

SLOW_BYTES_PER_S = 60_000
"""Less than the events of the stage need, so that something gets behind."""
RELAY_WIRES = ("ingress", "egress", "control")


class Failure(enum.Enum):
    """How a wire fails. After it the connections are cut, and new ones work."""

    CUT = "is cut"
    SLOW = "is slow"
    BLACK_HOLE = "swallows everything"
    HALF_OPEN = "is half open"
    """The server's end is gone, and the client is not told."""


class Wires:
    """A proxy for each way on which parts of the stage talk.

    Each edge has two wires to the relay. The emitters share two, and some clients of each edge
    share one; the others reach the edge directly, for a proxy costs more than a client.
    """

    def __init__(self, cluster: Cluster, edge_ports: list[int]) -> None:
        self._stack = ExitStack()
        relay = {
            name: _port(address)
            for name, address in zip(
                RELAY_WIRES, (cluster.ingress, cluster.egress, cluster.control), strict=True
            )
        }
        targets = {f"emitters {name}": relay[name] for name in ("ingress", "control")}
        for index, port in enumerate(edge_ports):
            targets |= {f"edge {index} {name}": relay[name] for name in ("egress", "control")}
            targets[f"clients of edge {index}"] = port
        self.proxies = {
            name: self._stack.enter_context(TcpProxy(port)) for name, port in targets.items()
        }

    def edge_settings(self, index: int) -> dict[str, str]:
        """The environment of an edge."""
        return {
            "EDGE_RELAY_EGRESS": self.proxies[f"edge {index} egress"].endpoint,
            "EDGE_RELAY_CONTROL": self.proxies[f"edge {index} control"].endpoint,
        }

    @property
    def emitter_settings(self) -> dict[str, str]:
        """The environment of an emitter."""
        return {
            "EMITTER_RELAY_INGRESS": self.proxies["emitters ingress"].endpoint,
            "EMITTER_RELAY_CONTROL": self.proxies["emitters control"].endpoint,
        }

    def client_port(self, index: int) -> int:
        """The port on which some clients reach an edge."""
        return _port(self.proxies[f"clients of edge {index}"].endpoint)

    def fail(self, name: str, failure: Failure) -> None:
        """Let a wire fail until `mend`."""
        proxy = self.proxies[name]
        match failure:
            case Failure.CUT:
                proxy.cut()
            case Failure.SLOW:
                proxy.bytes_per_s = SLOW_BYTES_PER_S
            case Failure.BLACK_HOLE:
                proxy.is_black_hole = True
            case Failure.HALF_OPEN:
                proxy.leave_half_open()

    def mend(self, name: str) -> None:
        """End the failure of a wire."""
        proxy = self.proxies[name]
        proxy.bytes_per_s = None
        if proxy.is_black_hole:
            # Bytes are missing on its connections, which pass nothing more.
            proxy.is_black_hole = False
            proxy.cut()

    def close(self) -> None:
        """End all proxies."""
        self._stack.close()


def _port(address: str) -> int:
    port = urlsplit(address).port
    assert port is not None, address
    return port
