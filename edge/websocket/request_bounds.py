"""`RequestBounds`: size and time of the HTTP request that is arriving on a connection."""

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of request line and headers, with room for the longest token; a larger head is answered
with 431."""
MAX_BODY_BYTES = 64 * 1024
"""Bytes of a request's body, which only signing in has; a larger one is answered with 413."""


class RequestBounds:
    """How much of the present request has arrived, and since when it is awaited."""

    __slots__ = ("_is_in_body", "_was_awaited", "body_bytes", "head_bytes", "is_unfinished")

    def __init__(self) -> None:
        self.head_bytes = 0
        """Bytes that came while the head was incomplete."""
        self.body_bytes = 0
        self.is_unfinished = False
        """Whether something of a request has arrived, but not all of it."""
        self._is_in_body = False
        self._was_awaited = True
        """Whether the last deadline found this request unfinished; the first one was awaited from
        the begin of the connection."""

    def begin(self, size_bytes: int) -> None:
        """So many bytes have arrived and are to be parsed."""
        self.is_unfinished = True
        if not self._is_in_body:
            self.head_bytes += size_bytes

    def head_is_complete(self) -> None:
        """The head has ended; a body may follow."""
        self._is_in_body = True
        self.head_bytes = self.body_bytes = 0

    def is_complete(self) -> None:
        """The request has ended."""
        self.head_bytes = 0
        self.is_unfinished = self._is_in_body = self._was_awaited = False

    def is_late(self) -> bool:
        """A deadline has passed: return whether the one before found this request awaited too."""
        is_late = self._was_awaited
        self._was_awaited = self.is_unfinished
        return is_late
