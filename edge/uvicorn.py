"""`http`: the HTTP protocol with which uvicorn serves an application that has an `Edge`.

`uvicorn --http edge.uvicorn:http app:app` gives clients of `/ws` all that `event-edge` does; other
routes are uvicorn's own affair. Without it, uvicorn opens WebSockets as any ASGI server
(docs/operations.md, "Other ASGI servers").
"""

import asyncio
from typing import Any

from relay.shared.extras import extra

with extra("edge"):
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    from edge.websocket.front_door import STATE, FrontDoor


def http(
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Protocol:
    """Return the protocol of one connection. Without an edge in the application it is uvicorn's."""
    protocol = FrontDoor if STATE in app_state else HttpToolsProtocol
    return protocol(config, server_state, app_state, _loop)
