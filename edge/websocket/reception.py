"""`Reception`: the server that has received a handshake, for an application that is to judge it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp


class Reception(NamedTuple):
    """How the server would call the application with a handshake, beside the handshake itself."""

    app: ASGIApp
    """The application, with all that is wrapped around it."""
    state: Mapping[str, Any]
    """That of the lifespan (see ASGI). It is shared: each request gets a copy."""
    scheme: str
    """`ws` or `wss`."""
    root_path: str = ""
