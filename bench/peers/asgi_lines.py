"""An ASGI application under uvicorn, and a port where publishers send one event a line."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn


def serve(app: Any, publish: Callable[[str], Awaitable[None]]) -> None:
    """Serve `app` and hand every line to `publish`. Command line: PORT PUBLISH_PORT."""
    port, publish_port = (int(argument) for argument in sys.argv[1:])

    async def read_lines(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await publish(line.decode().rstrip("\n"))

    async def run(server: uvicorn.Server) -> None:
        await asyncio.start_server(read_lines, "127.0.0.1", publish_port)
        await server.serve()

    config = uvicorn.Config(app, port=port, ws="websockets", log_level="info", access_log=False)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run(uvicorn.Server(config)))
