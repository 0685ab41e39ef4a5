"""`RequestBounds`: size and time of the HTTP request that is arriving on a connection."""

import math

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of request line and headers, with room for the longest token; a larger head is answered
with 431."""
MAX_BODY_BYTES = 64 * 1024
"""Bytes of a request's body, such as that of signing in; a larger one is answered with 413. Only
requests to publish may have more."""
CODED_BYTES_PER_BYTE = 4
"""Bytes that a body may have with its transfer coding (the sizes of chunks, their extensions, and
trailers), for each byte that it may have without."""
MAX_WAITING_REQUESTS = 32
"""Requests that wait for the responses before theirs; with more the connection is cut."""


class RequestBounds:
    """How much of the present request has arrived, and since when it is awaited."""

    __slots__ = (
        "_coded_body_bytes",
        "_head_bytes",
        "_header_bytes",
        "_max_body_bytes",
        "_was_awaited",
        "body_bytes",
        "is_in_body",
        "is_unfinished",
    )

    def __init__(self, max_body_bytes: int | None = MAX_BODY_BYTES) -> None:
        """With `max_body_bytes` None, a body may be as large and as slow as it likes."""
        self._max_body_bytes = max_body_bytes
        self._head_bytes = 0
        """Bytes that came while the head was incomplete."""
        self._header_bytes = 0
        """Bytes of the URL and the headers so far."""
        self._coded_body_bytes = 0
        """Bytes that came while the body was incomplete."""
        self.body_bytes = 0
        self.is_unfinished = False
        """Whether something of a request has arrived, but not all of it."""
        self.is_in_body = False
        """Whether the head has ended."""
        self._was_awaited = True
        """Whether the last deadline found this request unfinished; the first one was awaited from
        the begin of the connection."""

    def begin(self, size_bytes: int) -> None:
        """So many bytes have arrived and are to be parsed."""
        self.is_unfinished = True
        if self.is_in_body:
            self._coded_body_bytes += size_bytes
        else:
            self._head_bytes += size_bytes

    @property
    def head_is_too_large(self) -> bool:
        """Whether more has arrived than a head may have, and its end has not."""
        return self._head_bytes > MAX_HEAD_BYTES

    def take_header(self, size_bytes: int) -> bool:
        """Count a part of the URL or a header; return whether the head may have it."""
        self._header_bytes += size_bytes
        return self._header_bytes <= MAX_HEAD_BYTES

    def allows_body(self, size_bytes: int) -> bool:
        """Return whether a body may have `size_bytes`."""
        return self._max_body_bytes is None or size_bytes <= self._max_body_bytes

    @property
    def body_is_too_large(self) -> bool:
        """Whether the body, or what it is wrapped in, is too large."""
        return not (
            self.allows_body(self.body_bytes)
            and self.allows_body(math.ceil(self._coded_body_bytes / CODED_BYTES_PER_BYTE))
        )

    def head_is_complete(self, max_body_bytes: int | None) -> None:
        """The head has ended; a body of so many bytes may follow."""
        self._max_body_bytes = max_body_bytes
        self.is_in_body = True
        self._head_bytes = 0

    def is_complete(self) -> None:
        """The request has ended."""
        self._head_bytes = self._header_bytes = self.body_bytes = self._coded_body_bytes = 0
        self.is_unfinished = self.is_in_body = self._was_awaited = False

    def is_late(self) -> bool:
        """A deadline has passed: return whether the one before found this request awaited too."""
        is_late = self._was_awaited
        self._was_awaited = self.is_unfinished and not (
            self.is_in_body and self._max_body_bytes is None
        )
        return is_late
