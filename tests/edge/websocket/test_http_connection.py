"""`HttpConnection` and the front door, before an application that the test controls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from edge.config import EdgeSettings
from edge.core.stats import EdgeStats
from edge.scheduling.time_slices import TimeSlicedQueue
from edge.websocket.arrivals import Arrival, Arrivals
from edge.websocket.client import Client
from edge.websocket.front_door import STATE, FrontDoor
from edge.websocket.http_connection import (
    MAX_DISCARDED_BYTES,
    MAX_EARLY_BYTES,
    MAX_UNREAD_DEADLINES,
    HttpConnection,
)
from edge.websocket.request_bounds import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_WAITING_REQUESTS,
)
from tests.edge.websocket.stage import LOOPS
from tests.edge.wire import Server, serving, text, turn
from tests.support.raw_http import request
from tests.support.websocket_frames import PING, client_frame

LARGE = b"x" * 20_000_000


class Arriving:
    """The deadlines of a stage, which pass when the test says so."""

    def __init__(self) -> None:
        self._items: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Callable[[], None]) -> None:
        """Make due at the next `pass_by`."""
        self._items.append(item)

    def pass_by(self) -> None:
        """All are due."""
        items, self._items = self._items, []
        for item in items:
            item()


class Endpoint:
    """The part of `ClientEndpoint` that the front door needs."""

    def __init__(self, server: Server, **settings_of_arrivals: Any) -> None:
        self.settings = SimpleNamespace(compression=False)
        self.requests = TimeSlicedQueue(server.loop)
        self.client_services = server.services
        self.arriving = Arriving()
        self.wait_s: float | None = None
        self.application = None
        self.opened: list[Client] = []
        self.stats = EdgeStats()
        guard: Any = SimpleNamespace(has_room=lambda _: True)
        settings = EdgeSettings(trusted_proxies=("192.0.2.1",), **settings_of_arrivals)
        self.arrivals = Arrivals(server.loop, settings, self.stats, guard)
        self.arrivals.deadlines = cast(Any, self.arriving)

    def overload_s(self, _party: object) -> float | None:
        """As the test says."""
        return self.wait_s

    def turned_away(self, close: Any) -> Any:
        """Count."""
        self.stats.closed[close.code] += 1
        return close

    def handshake_refused(self) -> None:
        """Count."""
        self.stats.handshakes_refused += 1

    def identify(self, *_: object) -> None:
        """Let everybody in."""

    def open(self, client: Client, visitor: None, arrival: Arrival) -> None:
        """Greet."""
        self.opened.append(client)
        client.send(text(b"welcome"))


class Stage:
    """An HTTP server, and connections to it."""

    def __init__(self, server: Server) -> None:
        self.endpoint = Endpoint(server)
        self.may_answer = asyncio.Event()
        self.headers: list[dict[bytes, bytes]] = []
        """Those of each request, after its body."""
        self.state = ServerState()
        self.connections: set[Any] = self.state.connections
        self._config = Config(self._app, ws="websockets-sansio", interface="asgi3", log_config=None)

    @property
    def unread_bytes(self) -> int:
        """Bytes of responses that no buffer of the kernel takes."""
        served = [each for each in self.connections if isinstance(each, HttpConnection)]
        return sum(each.transport.get_write_buffer_size() for each in served)

    async def arrived(self) -> None:
        """Wait until a part of a request has come."""
        while not any(getattr(each, "is_receiving", False) for each in self.connections):
            await turn()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer /slow when the test says so, /large with a page that fills every buffer."""
        message = await receive()
        while message["type"] == "http.request" and message["more_body"]:
            if scope["path"] == "/early":
                break
            message = await receive()
        if message["type"] == "http.disconnect":
            return
        self.headers.append(dict(scope["headers"]))
        if scope["path"] == "/slow":
            await self.may_answer.wait()
        body = LARGE if scope["path"] == "/large" else scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the server."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: FrontDoor(self._config, self.state, {STATE: self.endpoint}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n".encode()


async def response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The first line and the body of an HTTP response."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    sizes = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
    return head.split(b"\r\n")[0], await reader.readexactly(sum(sizes))


@pytest.fixture(params=sorted(LOOPS))
def on_stage(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a scenario on either event loop, with a deadline."""

    def run(scenario: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def play() -> None:
            async with serving(max_queued_bytes=2**30) as server:
                await scenario(Stage(server))

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(play())

    return run


def test_the_handshake_waits_for_the_responses_before_it(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/slow") + get("/next") + request("/ws") + client_frame(PING, b"1"))
            await turn()
            writer.write(client_frame(PING, b"2"))
            while not stage.state.tasks:
                await turn()
            stage.may_answer.set()
            assert await response(reader) == (b"HTTP/1.1 200 OK", b"/slow")
            assert await response(reader) == (b"HTTP/1.1 200 OK", b"/next")
            assert (await response(reader))[0].startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(9) == text(b"welcome")
            assert await reader.readexactly(6) == b"\x8a\x011\x8a\x012"
            assert list(stage.connections) == stage.endpoint.opened

    on_stage(scenario)


def test_nothing_overtakes_a_page_that_is_still_being_read(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/large") + request("/ws"))
            while not stage.endpoint.opened:
                await turn()
            [client] = stage.endpoint.opened
            assert client.queued_bytes > 0, "the client is slow from its beginning"
            assert await response(reader) == (b"HTTP/1.1 200 OK", LARGE)
            assert (await response(reader))[0].startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(9) == text(b"welcome")
            await client.drained()
            assert client.queued_bytes == 0

    on_stage(scenario)


def test_under_overload_the_websocket_is_closed_with_4013(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/page"))
            assert (await response(reader))[1] == b"/page"
            stage.endpoint.wait_s = 6.2
            writer.write(request("/ws"))
            assert (await response(reader))[0].startswith(b"HTTP/1.1 101")
            frame = await reader.read()
            assert frame[2:] == (4013).to_bytes(2) + b"overloaded, retry in 7 s"
            assert stage.endpoint.stats.closed == {4013: 1}
            assert len(stage.endpoint.arriving) > 0, "cut if it does not hang up"

    on_stage(scenario)


def test_a_client_that_sends_without_end_before_its_handshake_is_cut(
    on_stage: Callable[..., None],
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/slow") + request("/ws"))
            while not stage.state.tasks:
                await turn()
            [connection] = stage.connections
            assert isinstance(connection, HttpConnection)
            connection.data_received(b"x" * MAX_EARLY_BYTES)
            assert not connection.transport.is_closing()
            connection.data_received(b"x")
            assert connection.transport.is_closing()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""

    on_stage(scenario)


POST = b"POST /page HTTP/1.1\r\nHost: edge\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"4000\r\n%b\r\n" % (b"x" * 2**14)
UNFINISHED = [
    b"GET /page HTTP/1.1\r\n",
    b"GET /page HTTP/1.1\r\nHost: edge\r\nX: ",
    b"\r\n",
    POST + b"Content-Length: 10\r\n\r\n123",
    CHUNKED + b"1\r\n",
    get("/slow") + POST + b"Content-Length: 10\r\n\r\n123",
]


async def given_up(stage: Stage, reader: asyncio.StreamReader) -> bytes:
    """The last words of the server; the connection ends."""
    try:
        last_words = await reader.read()
    except ConnectionResetError:
        last_words = b""
    stage.endpoint.arriving.pass_by()
    while stage.connections or stage.state.tasks:
        await turn()
    return last_words


@pytest.mark.parametrize("sent", UNFINISHED)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_never_becomes_whole_is_given_up(
    on_stage: Callable[..., None], sent: bytes, is_first: bool
) -> None:
    """The first within one deadline, a later one within two; whether or not bytes still come."""

    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            if not is_first:
                writer.write(get("/page"))
                assert (await response(reader))[1] == b"/page"
                stage.endpoint.arriving.pass_by()
            writer.write(sent)
            await stage.arrived()
            is_behind_another = sent.startswith(b"GET /slow")
            if not is_first or is_behind_another:
                stage.endpoint.arriving.pass_by()
                assert not [each for each in stage.connections if each.transport.is_closing()]
            stage.endpoint.arriving.pass_by()
            stage.may_answer.set()
            last_words = await given_up(stage, reader)
            if not is_behind_another:
                assert last_words.startswith(b"HTTP/1.1 408 Request Timeout\r\n")

    on_stage(scenario)


def test_whole_requests_may_come_for_ever(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            for _ in range(5):
                writer.write(POST + b"Content-Length: 3\r\n\r\n123" + get("/next"))
                assert (await response(reader))[1] == b"/page"
                assert (await response(reader))[1] == b"/next"
                stage.endpoint.arriving.pass_by()
            writer.write(get("/slow"))
            while not stage.state.tasks:
                await turn()
            for _ in range(3):
                stage.endpoint.arriving.pass_by()
            stage.may_answer.set()
            assert (await response(reader))[1] == b"/slow", "the server is slow, not the client"

    on_stage(scenario)


@pytest.mark.parametrize("closes", [False, True])
def test_a_response_that_is_never_read_is_given_up(
    on_stage: Callable[..., None], closes: bool
) -> None:
    """Also when the server has closed the connection behind it."""

    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            close = b"GET /large HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n"
            writer.write(close if closes else get("/large"))
            while not stage.unread_bytes:
                await turn()
            stage.endpoint.arriving.pass_by()
            for _ in range(3):
                before = stage.unread_bytes
                await reader.readexactly(5_000_000)
                while stage.unread_bytes == before:
                    await turn()
                stage.endpoint.arriving.pass_by()
                assert stage.connections, "the client reads, however slowly"
            while stage.connections:
                stage.endpoint.arriving.pass_by()
                await turn()
            await given_up(stage, reader)

    on_stage(scenario)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)], 413),
        ([CHUNKED] + [CHUNK] * 5, 413),
        ([b"GET /page HTTP/1.1\r\nX: "] + [b"x" * 5000] * 7, 431),
        ([b"GET /page HTTP/1.1\r\n"] + [b"X: %b\r\n" % (b"x" * 5000)] * 7, 431),
        ([b"GET /page HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * MAX_HEAD_BYTES)], 431),
        ([b"GET /%b HTTP/1.1\r\n\r\n" % (b"x" * MAX_HEAD_BYTES)], 431),
        ([b"GET /page"] + [b"x" * 5000] * 7, 431),
        ([b"\r\n" * 2**14] * 3, 431),
        ([b"GET /page HTTP/1.1\r\n" + b"a:\r\n" * MAX_HEAD_BYTES], 431),
        ([CHUNKED + b"1"] + [b";x" * 2**14] * 20, 413),
        ([CHUNKED + b"0\r\n"] + [b"a:\r\n" * 2**13] * 20, 413),
    ],
)
def test_a_request_that_is_too_large_is_refused(
    on_stage: Callable[..., None], sent: list[bytes], status: int, is_first: bool
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            if not is_first:
                writer.write(get("/page"))
                assert (await response(reader))[1] == b"/page"
            for part in sent:
                writer.write(part)
            last_words = await given_up(stage, reader)
            assert last_words.startswith(b"HTTP/1.1 %d " % status)
            assert last_words.count(b"HTTP/1.1") == 1

    on_stage(scenario)


def test_a_body_of_the_largest_size_is_taken(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % MAX_BODY_BYTES)
            writer.write(b"x" * MAX_BODY_BYTES + get("/next"))
            assert (await response(reader))[1] == b"/page"
            assert (await response(reader))[1] == b"/next"

    on_stage(scenario)


def test_what_follows_a_body_does_not_count_as_headers(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(CHUNKED + b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + get("/next"))
            assert (await response(reader))[1] == b"/page"
            assert (await response(reader))[1] == b"/next"
            assert set(stage.headers[0]) == {b"host", b"transfer-encoding"}

    on_stage(scenario)


def test_so_many_requests_may_wait_for_the_responses_before_theirs(
    on_stage: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/slow") + get("/page") * MAX_WAITING_REQUESTS)
            while not stage.state.tasks:
                await turn()
            stage.may_answer.set()
            assert (await response(reader))[1] == b"/slow"
            for _ in range(MAX_WAITING_REQUESTS):
                assert (await response(reader))[1] == b"/page"
        async with stage.connection() as (reader, writer):
            stage.may_answer.clear()
            writer.write(get("/slow") + get("/page") * (MAX_WAITING_REQUESTS + 1))
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            stage.may_answer.set()
            await given_up(stage, reader)
            assert not caplog.records, "the application may answer as if nothing had happened"

    on_stage(scenario)


@pytest.mark.parametrize("sent", UNFINISHED[:-1])
def test_a_shutdown_waits_for_no_request(on_stage: Callable[..., None], sent: bytes) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(sent)
            await stage.arrived()
            for connection in tuple(stage.connections):
                connection.shutdown()
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            while stage.connections or stage.state.tasks:
                await turn()

    on_stage(scenario)


def test_a_shutdown_waits_for_a_response(on_stage: Callable[..., None]) -> None:
    """Also when a part of the next request has come."""

    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/slow") + b"GET /ne")
            while not stage.state.tasks:
                await turn()
            for connection in tuple(stage.connections):
                connection.shutdown()
            stage.may_answer.set()
            assert (await response(reader))[1] == b"/slow"
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""

    on_stage(scenario)


def refused(stage: Stage) -> dict[str, int]:
    """The requests that were given up, by status."""
    return dict(stage.endpoint.stats.arrivals.requests_refused)


@pytest.mark.parametrize("before", [b"", get("/first")], ids=["first", "later"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
    ],
    ids=["none", "two", "wrong", "none of a POST"],
)
def test_a_request_names_one_host(
    on_stage: Callable[..., None], before: bytes, head: bytes
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            if before:
                writer.write(before)
                assert await response(reader) == (b"HTTP/1.1 200 OK", b"/first")
            writer.write(head)
            assert (await response(reader))[0] == b"HTTP/1.1 400 Bad Request"
            assert await reader.read() == b""
            assert len(stage.headers) == bool(before)
            assert refused(stage) == {"400": 1}

    on_stage(scenario)


@pytest.mark.parametrize("before", [b"", get("/first")], ids=["first", "later"])
@pytest.mark.parametrize("text", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n"])
def test_what_is_no_http_is_answered_and_counted(
    on_stage: Callable[..., None], before: bytes, text: bytes
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            if before:
                writer.write(before)
                assert await response(reader) == (b"HTTP/1.1 200 OK", b"/first")
            writer.write(text)
            assert (await response(reader))[0] == b"HTTP/1.1 400 Bad Request"
            assert await reader.read() == b""
            assert refused(stage) == {"400": 1}

    on_stage(scenario)


def test_no_http_behind_a_refused_head_is_answered_once(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with stage.connection() as (reader, writer):
            writer.write(b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\nno HTTP\r\n\r\n")
            assert (await response(reader))[0] == b"HTTP/1.1 400 Bad Request"
            assert await reader.read() == b""
            assert refused(stage) == {"400": 1}
            assert faults == []

    on_stage(scenario)


def test_no_http_does_not_break_into_a_response(on_stage: Callable[..., None]) -> None:
    """Behind a response that is not complete, a client would take the refusal for a part of it."""

    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(get("/slow") + b"no HTTP\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert refused(stage) == {"400": 1}

    on_stage(scenario)


def test_http_1_0_needs_no_host(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(b"GET /a HTTP/1.0\r\n\r\n")
            assert (await response(reader))[1] == b"/a"

    on_stage(scenario)


@pytest.mark.parametrize("before", [b"", get("/first")], ids=["first", "later"])
@pytest.mark.parametrize("body", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_a_method_without_a_body_has_none(
    on_stage: Callable[..., None], before: bytes, body: str
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            if before:
                writer.write(before)
                await response(reader)
            writer.write(f"GET /a HTTP/1.1\r\nHost: edge\r\n{body}\r\n\r\n".encode())
            writer.write(b"1\r\nx\r\n0\r\n\r\n")
            assert (await response(reader))[0].startswith(b"HTTP/1.1 413 ")
            assert refused(stage) == {"413": 1}

    on_stage(scenario)


def test_an_answer_before_the_body_ends_the_connection(on_stage: Callable[..., None]) -> None:
    """No route wants the body, so nothing behind the answer is a request."""

    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            head = b"POST /early HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000\r\n\r\n"
            writer.write(head + b"x")
            assert await response(reader) == (b"HTTP/1.1 200 OK", b"/early")
            assert await reader.read() == b"", "at once, and not when the body is whole"
            writer.write(b"x" * 999 + get("/next"))
            await turn()
            assert len(stage.headers) == 1

    on_stage(scenario)


def test_little_is_read_behind_a_refusal(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer):
            writer.write(b"GET /" + b"x" * (MAX_HEAD_BYTES + 1))
            assert (await response(reader))[0].startswith(b"HTTP/1.1 431 ")
            [connection] = stage.connections
            sent = 0
            while not connection.flow.read_paused:
                if not writer.transport.get_write_buffer_size():
                    writer.write(b"x" * 65536)
                    sent += 65536
                await turn()
                assert sent < 20 * MAX_DISCARDED_BYTES
            stage.endpoint.arriving.pass_by()
            assert await is_cut(reader)

    on_stage(scenario)


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Wait for the end, however it comes."""
    with contextlib.suppress(ConnectionError):
        await reader.read()
    return True


def test_a_page_of_ours_cannot_be_read_for_ever(on_stage: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (_, writer):
            writer.write(get("/large"))
            while not stage.unread_bytes:
                await turn()
            [connection] = stage.connections
            # At each deadline less is unread, as if the client read a little between them.
            for unread_bytes in range(MAX_UNREAD_DEADLINES + 1, 1, -1):
                assert not connection._is_read_too_slowly(unread_bytes)
            assert connection._is_read_too_slowly(1)
            assert not connection._is_read_too_slowly(0), "all is read: the next one has its time"
            assert not connection._is_read_too_slowly(1)

    on_stage(scenario)


@pytest.mark.parametrize("said", [b"", b"GET", b"POST /a HTTP/1.1\r\nHost: edge\r\n"])
def test_a_silent_connection_gives_way_and_one_that_is_answered_does_not(
    on_stage: Callable[..., None], said: bytes
) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connection() as (reader, writer), stage.connection() as (busy, other):
            other.write(get("/slow"))
            while not stage.headers:
                await turn()
            writer.write(said)
            while len(stage.endpoint.arrivals.strangers) != 1:
                await turn()
            assert stage.endpoint.arrivals.make_room() is False, "too young"
            assert stage.endpoint.arrivals.strangers.make_room()
            assert await is_cut(reader)
            assert not stage.endpoint.arrivals.strangers.make_room()
            stage.may_answer.set()
            assert await response(busy) == (b"HTTP/1.1 200 OK", b"/slow")
            assert len(stage.endpoint.arrivals.strangers) == 1, "its next request is awaited"

    on_stage(scenario)
