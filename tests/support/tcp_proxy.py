"""A TCP proxy on a thread: passes bytes on, slowly, not at all, or cuts its connections."""

import asyncio
import threading
from typing import Self

CHUNK_BYTES = 16 * 1024
CONNECT_RETRY_S = 0.05


class TcpProxy:
    """Listens on a free port of loopback, and connects each client to `target_port`.

    Attributes may be changed from any thread while it runs.
    """

    def __init__(self, target_port: int) -> None:
        self.bytes_per_s: float | None = None
        """The speed of answers, of all connections together; None for as fast as possible."""
        self.request_bytes_per_s: float | None = None
        """The same for the other direction."""
        self.is_black_hole = False
        """Whether bytes are read and go nowhere; connections are accepted and stay open.

        A direction of a connection in which bytes are missing passes nothing more, as TCP would.
        """
        self.is_refusing = False
        """Whether new connections are ended at once."""
        self.passed_bytes = 0
        """Bytes of answers that were passed on."""
        self.swallowed_bytes = 0
        """Bytes of both directions that were not."""
        self.accepted = 0
        """Connections that were accepted."""
        self._target_port = target_port
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: set[asyncio.WriteTransport] = set()
        self._free_at = {True: 0.0, False: 0.0}
        """Loop time at which each direction is free: answers, and requests."""
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(10), "the proxy does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def endpoint(self) -> str:
        """The address for ZeroMQ."""
        return f"tcp://127.0.0.1:{self._port}"

    def cut(self) -> None:
        """End all present connections."""
        for task in tuple(self._connections):
            self._loop.call_soon_threadsafe(task.cancel)

    def leave_half_open(self) -> None:
        """End the target's ends of all connections, tell no client, and be a black hole."""
        self.is_black_hole = True
        for transport in tuple(self._servers):
            self._loop.call_soon_threadsafe(transport.abort)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        )
        self._port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            # One that was cancelled already does not end the others.
            self._loop.run_until_complete(asyncio.wait([task], timeout=1))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        try:
            server_reader, server_writer = await self._connect()
            server = server_writer.transport
            self._servers.add(server)
            task.add_done_callback(lambda _: self._servers.discard(server))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, server_writer, is_answer=False))
                group.create_task(self._pass_on(server_reader, writer, is_answer=True))
        except (asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_connection(
                    "127.0.0.1", self._target_port, limit=CHUNK_BYTES
                )
            except OSError:
                await asyncio.sleep(CONNECT_RETRY_S)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        has_hole = False
        try:
            while data := await reader.read(CHUNK_BYTES):
                has_hole = has_hole or self.is_black_hole
                if has_hole:
                    self.swallowed_bytes += len(data)
                    continue
                await self._take_time(len(data), is_answer=is_answer)
                if is_answer:
                    self.passed_bytes += len(data)
                writer.write(data)
                await writer.drain()
            if is_answer and (has_hole or self.is_black_hole):
                # Half open: the client learns nothing, and ends it itself or is cut.
                await asyncio.Event().wait()
            raise ConnectionError("the other side has ended it")
        finally:
            writer.transport.abort()

    async def _take_time(self, size: int, *, is_answer: bool) -> None:
        bytes_per_s = self.bytes_per_s if is_answer else self.request_bytes_per_s
        if bytes_per_s is None:
            return
        now = self._loop.time()
        free_at = max(now, self._free_at[is_answer]) + size / bytes_per_s
        self._free_at[is_answer] = free_at
        await asyncio.sleep(free_at - now)
