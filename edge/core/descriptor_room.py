"""`DescriptorRoom`: which connections a worker serves, of those that its file descriptors allow.

A kernel gives each connection the lowest free descriptor. So the number of a connection's
descriptor says how full the process is: if it is among the last ones, all lower ones are taken.
Clients and visitors of pages get the lower descriptors. The last ones are reserved for connections
that end soon: checks of health, metrics, and refusals.

A server accepts all connections of its backlog at once, before it can refuse one of them. So half
of the reserve is as large as the backlog, and the other half holds the refused connections until
their clients hang up.
"""

from dataclasses import dataclass

MAX_BACKLOG = 4096
"""Connections that the kernel holds for the edge, if there are descriptors for them."""
OWN = 64
"""Descriptors that are no connections: sockets to the relay, event loop, log, files."""
SPARE = 16
"""Of the reserved descriptors those for files that are opened for a moment."""
MIN_RESERVED = 64
MIN_CONNECTIONS = 16
"""With room for fewer, an edge does not start."""


@dataclass(frozen=True, slots=True)
class DescriptorRoom:
    """The room in a process that may open `limit` descriptors."""

    limit: int

    @classmethod
    def needed(cls, max_connections: int) -> int:
        """Return the limit with which a process serves `max_connections` clients in any rush."""
        return max_connections + OWN + SPARE + 2 * MAX_BACKLOG

    @property
    def reserved(self) -> int:
        """The number of reserved descriptors."""
        return max(MIN_RESERVED, min(SPARE + 2 * MAX_BACKLOG, self.limit // 8))

    @property
    def backlog(self) -> int:
        """The length of the backlog, and the number of refused connections that may linger."""
        return (self.reserved - SPARE) // 2

    @property
    def max_connections(self) -> int:
        """The number of clients that this process can serve; negative if there is no room."""
        return self.limit - self.reserved - OWN

    @property
    def is_enough_to_start(self) -> bool:
        """Whether an edge is of use at all."""
        return self.max_connections >= MIN_CONNECTIONS

    def is_reserved(self, descriptor: int) -> bool:
        """Return whether a connection with this descriptor may stay only for a moment."""
        return descriptor >= self.limit - self.reserved
