"""`RequestHead`: the URL and the headers of one HTTP request, as httptools reports them."""

from http.cookies import CookieError
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser


class RequestHead:
    """Collects the parts of a request that a WebSocket needs."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        """Names in lower case. The values of a header that came more than once are joined."""

    @property
    def query(self) -> dict[str, str]:
        """The parameters in the URL."""
        _, _, query_string = self.url.partition(b"?")
        return dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies; none if the header is invalid."""
        try:
            return cookie_parser(self.headers.get("cookie", ""))
        except CookieError:
            return {}

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL. Called by httptools."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Called by httptools."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        joint = "; " if key == "cookie" else ", "
        self.headers[key] = text if known is None else f"{known}{joint}{text}"
