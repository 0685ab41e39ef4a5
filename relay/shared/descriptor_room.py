"""`DescriptorRoom`: which connections a process keeps, of those that its descriptors allow.

A kernel gives each connection the lowest free descriptor. So the number of a connection's
descriptor says how full the process is: if it is among the last ones, all lower ones are taken.
The last descriptors are reserved for connections that end soon: refusals, and the questions of
those who look after the process.

A library accepts all connections of its backlog at once, before the first can be refused. So half
of the reserve is as large as the backlog, and the other half holds refused connections until they
end.
"""

from dataclasses import dataclass

OWN = 64
"""Descriptors that are no connections: the sockets of libraries, event loop, log, files."""
SPARE = 16
"""Of the reserved descriptors those for files that are opened for a moment."""
MIN_RESERVED = 64
MIN_CONNECTIONS = 16
"""With room for fewer, a program does not start."""


@dataclass(frozen=True, slots=True)
class DescriptorRoom:
    """The room in a process that may open `limit` descriptors.

    `wanted` connections are to be kept. `longest_backlog` is the number of connections that the
    kernel should hold for the process.
    """

    limit: int
    wanted: int
    longest_backlog: int

    @staticmethod
    def needed(wanted: int, longest_backlog: int) -> int:
        """Return the limit with which a process keeps `wanted` connections in any rush."""
        return wanted + OWN + SPARE + 2 * longest_backlog

    @property
    def reserved(self) -> int:
        """The number of reserved descriptors: those beside `wanted`, an eighth at least."""
        full = SPARE + 2 * self.longest_backlog
        left = self.limit - OWN - self.wanted
        return max(MIN_RESERVED, min(full, max(left, self.limit // 8)))

    @property
    def backlog(self) -> int:
        """The length of the backlog, and the number of refused connections that may linger."""
        return (self.reserved - SPARE) // 2

    @property
    def max_connections(self) -> int:
        """The number of connections that this process can keep; negative if there is no room."""
        return self.limit - self.reserved - OWN

    @property
    def is_enough_to_start(self) -> bool:
        """Whether the program is of use at all."""
        return self.max_connections >= MIN_CONNECTIONS

    def is_reserved(self, descriptor: int) -> bool:
        """Return whether a connection with this descriptor may stay only for a moment."""
        return descriptor >= self.limit - self.reserved
