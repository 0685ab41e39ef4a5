"""`RequestHead`: the URL and the headers of one HTTP request, whichever server has read it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl


class RequestHead:
    """Collects the parts of a request that tell who is asking and for what."""

    __slots__ = ("headers", "is_encrypted", "url", "version")

    def __init__(self, *, is_encrypted: bool = False) -> None:
        self.url = b""
        self.version = "1.1"
        """Of HTTP."""
        self.is_encrypted = is_encrypted
        """Whether it came to this edge by TLS."""
        self.headers: dict[str, str] = {}
        """Names in lower case. The values of a header that came more than once are joined."""

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]], query_string: bytes) -> "RequestHead":
        """Return the head of a request with these headers."""
        head = cls()
        head.url = b"?" + query_string
        for name, value in headers:
            head.on_header(name, value)
        return head

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> "RequestHead":
        """Return the head of a request that an ASGI server has read."""
        head = cls.of(scope["headers"], scope.get("query_string", b""))
        head.is_encrypted = scope.get("scheme") in ("https", "wss")
        return head

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters in the URL, in their order."""
        _, _, query_string = self.url.partition(b"?")
        return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)

    def cookies(self, name: str) -> Iterator[str]:
        """Yield the values of all cookies with this name, in their order.

        A browser sends several when they were set for different paths or domains.
        """
        for pair in self.headers.get("cookie", "").split(";"):
            key, _, value = pair.partition("=")
            if key.strip() == name:
                yield value.strip().strip('"')

    def values(self, name: str) -> Iterator[str]:
        """Yield the values of a header that holds a list, separated by commas."""
        for value in self.headers.get(name, "").split(","):
            if stripped := value.strip():
                yield stripped

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL. Called by httptools."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Called by httptools."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        known = self.headers.get(key)
        joint = "; " if key == "cookie" else ", "
        self.headers[key] = text if known is None else f"{known}{joint}{text}"
