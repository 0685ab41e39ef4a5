"""`Edge`: the edge as a part of another application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.types import ASGIApp

from edge.channel import Teamwork
from edge.config import EdgeSettings
from edge.core.hub.audience import Connection
from edge.core.identity.access import Identity
from edge.core.presence.view import PresentUser
from edge.core.websocket.close_codes import CloseCode
from edge.host.app_rules import app_rules
from edge.host.authentication import ASKED, AppAuthentication, Handshake
from edge.host.authorization import Authorization
from edge.host.clients import HostClients
from edge.host.connection import ClientConnection, app_close
from edge.host.decisions import Decisions
from edge.host.embedded_relay import EmbeddedRelay
from edge.host.functions import AppFunction, AppIdentity, identity_of
from edge.host.hooks import Hooks
from edge.host.manager import AppManager
from edge.host.own_actions import HostActions
from edge.host.publisher import Publisher, check_emitter_settings
from edge.host.users import user_dependencies
from edge.http.auth import Identify
from edge.http.operators import Known
from edge.http.permissions import Ask
from edge.http.token_files import check_tokens
from edge.routes import Backend, Parts, build, own_sign_in
from edge.serving import Serving
from edge.verifier import Verifier, verifier_of
from edge.websocket.asgi import admit, head_of, peer_of, refuse, serve_websocket
from edge.websocket.http_connection import Entrance
from edge.websocket.identification import HandshakeRefused
from edge.websocket.reception import Reception
from edge.worker import Worker
from relay.shared.contract_modules import load_contracts
from relay.shared.settings import SettingsError, load
from relay.wire.revocations import Revocation
from relay.wire.topics import Pattern, parse_topic
from relay.wire.usernames import normal_username

EMBEDDED = "embedded"
NAME = "event-relay"
"""The name of the route to the edge."""
F = TypeVar("F", bound=AppFunction)


class Edge:
    """The edge in an application of one's own (docs/embedding.md).

    `install` gives a FastAPI application the routes, under a prefix, and the edge's start and end.
    Everything else follows from the settings, which are those of `event-edge`: `EDGE_*` variables,
    `relay.toml`, and keyword arguments, which win.

    With `relay="embedded"`, a relay runs beside the application unless one runs at the address
    already.

    `authenticate` is a FastAPI dependency, with any parameters of its own. It returns the user of a
    request or of a WebSocket's handshake: a name, or an object with `username` and perhaps `role`,
    `expires_at`, `issued_at` (Unix seconds) and `token_id`; None if the client is to authenticate
    by its first message. Without it, users sign in at `/auth/token` with the edge's own tokens.

    `authorize(identity, action, topic)` returns whether a user may `"subscribe"` to a topic or
    pattern, or `"publish"` on a topic. Without it, the roles in `relay.toml` decide. Both functions
    are plain or async.

    `presence` names kinds of whose topics the edge knows the subscribers, beside those to which
    `relay.toml` gives `presence = true`.

    Raises `relay.shared.settings.SettingsError` for a setting that cannot be used.
    """

    def __init__(
        self,
        *,
        relay: str | None = None,
        authenticate: AppFunction | None = None,
        authorize: AppFunction | None = None,
        presence: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        if relay not in (None, EMBEDDED):
            raise SettingsError(f'relay: must be "{EMBEDDED}" (it is {relay!r})')
        self.settings = load(EdgeSettings, **settings)
        self._rules, self._access = app_rules(presence, asks=authorize is not None)
        load_contracts(self.settings.contracts, "EDGE_CONTRACTS")
        self._relay = EmbeddedRelay.of(self.settings) if relay == EMBEDDED else None
        self._authenticate = authenticate
        timeout_s = self.settings.authentication_timeout_s
        self._authorization = None if authorize is None else Authorization(authorize, timeout_s)
        self._hooks = Hooks()
        self._own_actions = HostActions(self._connection_of)
        self._clients: HostClients | None = None
        self._host: ASGIApp | None = None
        self._host_state: Mapping[str, Any] = {}
        """The state of its lifespan, when that runs."""
        check_emitter_settings()
        self._publisher = Publisher(self.settings)
        self.manager = AppManager(self._publisher, self._client)
        """Sends with the names of a connection manager."""
        self._teamwork = Teamwork(self._publisher, self._rules.kinds.presence)
        self._verifier = self._own_verifier() if authenticate is None else Verifier()
        self._serving = Serving(self._make_worker, owns_process=False, beside=self._beside)
        self.user: Identify
        """The signed-in user of a request, a FastAPI dependency; it answers 401 to others."""
        self.routes: FastAPI
        """The edge's own routes."""
        self.routes, served = self._build()
        self.app: ASGIApp = self._serving.wrap(served)
        """The application with the edge's routes, to be mounted by hand with `lifespan`."""

    # In the application.

    def install(self, app: FastAPI, prefix: str = "") -> None:
        """Serve the edge below `prefix` of `app`, from the start of `app` to its end.

        `prefix` is empty or a path such as `/live`. The routes of `app` itself come first. Raises
        `RuntimeError` if it is installed already.
        """
        if self._host is not None:
            raise RuntimeError("this Edge is installed already")
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"prefix must be empty or begin, and not end, with /: {prefix!r}")
        self._serving.entrance = Entrance(f"{prefix}/ws", None, self.settings.max_publish_bytes)
        self._host = app
        self.routes.state = app.state
        self.routes.dependency_overrides = app.dependency_overrides
        if prefix:
            app.mount(prefix, self.app, name=NAME)
        theirs = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(host: Any) -> AsyncIterator[dict[str, Any]]:
            if not prefix and not any(getattr(route, "name", None) == NAME for route in app.routes):
                # Only now: it takes every request that the routes before it do not.
                app.mount("", self.app, name=NAME)
            async with self.lifespan(host) as ours, theirs(host) as state:
                self._host_state = {**(state or {}), **ours}
                yield self._host_state

        app.router.lifespan_context = lifespan

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[dict[str, Any]]:
        """Run the edge during the body, which gets the state of the lifespan (see ASGI)."""
        async with self._serving.running() as state:
            yield state

    # For handlers.

    async def emit(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
        once: str | None = None,
        acknowledged: bool = False,
    ) -> str:
        """Emit an event to everybody who may see it, on all workers and edges; return its id.

        As `emitters.Emitter.emit`, whose errors it raises. It returns when the event is taken:
        from then on it reaches the relay, however long that is away, while this process lives. With
        `acknowledged` it returns when the relay has the event, and raises
        `emitters.RelayUnavailable` if that takes longer than `EDGE_PUBLISH_TIMEOUT_S`.
        """
        return await self._publisher.emit(
            topic, data, type=type, username=username, once=once, acknowledged=acknowledged
        )

    async def send_to_user(self, username: str, topic: str, data: Any) -> str:
        """Emit an event to all connections of one user, and to nobody else; return its id."""
        return await self.emit(topic, data, username=username)

    async def disconnect(
        self,
        username: str,
        *,
        code: int = CloseCode.DISCONNECTED.code,
        reason: str = CloseCode.DISCONNECTED.meaning,
    ) -> None:
        """Close the present connections of one user, on all workers of all edges.

        Returns when the relay has the command. Connections that are made afterwards stay. Raises
        `edge.channel.RelayAway`, and `ValueError` for a code that is not 4000 to 4999, a reason of
        more than 123 bytes, or a name that is none.
        """
        await self._publisher.disconnect(username, app_close(code, reason))

    async def revoke(self, username: str | None = None, *, token_id: str | None = None) -> None:
        """Refuse the tokens of a user that were issued until now, or one token, on all edges.

        What was opened with them is closed. Returns when the relay has it. Users of one's own
        `authenticate` are known by `issued_at` and `token_id` of what it returns; without these
        only their present connections end. Raises `ValueError` unless one of both is given, and
        `edge.channel.RelayAway`.
        """
        if (username is None) == (token_id is None):
            raise ValueError("revoke: name a user or a token")
        name = None if username is None else normal_username(username)
        await self._publisher.revoke(Revocation(0, name, token_id))

    async def permissions_changed(self, username: str) -> None:
        """Have `authorize` asked again about all subscriptions of a user, on all workers and edges.

        Those that it refuses end at once. Returns when the relay has the command. Raises
        `edge.channel.RelayAway`, and `ValueError` for a name that is none.
        """
        await self._publisher.permissions_changed(normal_username(username))

    async def presence(self, topic: str) -> list[PresentUser]:
        """Return the users who are subscribed to `topic` on any worker of any edge, by name.

        Raises `ValueError` if the kind of `topic` has no presence, and `RuntimeError` if the edge
        does not run.
        """
        if parse_topic(topic).kind not in self._rules.kinds.presence:
            raise ValueError(f"{topic!r} has no presence: add its kind to Edge(presence=…)")
        worker = self._serving.worker
        if worker is None or worker.others.presence is None:
            raise RuntimeError("the edge does not run")
        return worker.others.presence.users(topic)

    # What happens on `/ws`.

    def on_connect(self, hook: F) -> F:
        """Have `hook(connection)` called when a client is authenticated."""
        self._hooks.connect.append(hook)
        return hook

    def on_disconnect(self, hook: F) -> F:
        """Have `hook(connection)` called when a connection has ended."""
        self._hooks.disconnect.append(hook)
        return hook

    def on_subscribe(self, hook: F) -> F:
        """Have `hook(connection, topic)` called when a client has subscribed."""
        self._hooks.subscribe.append(hook)
        return hook

    def on_unsubscribe(self, hook: F) -> F:
        """Have `hook(connection, topic)` called when a subscription has ended."""
        self._hooks.unsubscribe.append(hook)
        return hook

    def on_message(self, hook: F) -> F:
        """Have `hook(connection, message)` called for messages with an action of one's own."""
        self._hooks.message.append(hook)
        return hook

    def on_publish(self, pattern: str) -> Callable[[F], F]:
        """Have the decorated `hook(connection, topic, data)` take what clients publish there.

        `pattern` is a topic or a prefix that ends in `*`; the first hook that matches counts. What
        it returns goes to the client, and nothing is emitted. Without a hook, the roles that may
        publish on the topic do. Raises `InvalidTopic`.
        """

        def add(hook: F) -> F:
            self._own_actions.add_taker(pattern, hook)
            return hook

        return add

    def answers(self, method: str) -> Callable[[F], F]:
        """Have the decorated function answer the clients' requests for `method`.

        It gets the connection, and the `params` as keyword arguments if they are a map, as
        positional ones if they are a list. `ActionRefused` carries its text to the client; other
        exceptions are logged. Raises `ValueError` for a wrong name.
        """

        def add(function: F) -> F:
            self._own_actions.add_method(method, function)
            return function

        return add

    # Inside.

    def _build(self) -> tuple[FastAPI, ASGIApp]:
        if self._authenticate is None:
            assert self._verifier.tokens is not None
            identify, sign_in = own_sign_in(self.settings, self._verifier.tokens, self._publisher)
            self.user = identify
            return build(self._parts(identify, identify.known, sign_in), self._serve_websocket)
        self.user, known = user_dependencies(self._authenticate, self._teamwork.revocations)
        found_by = Depends(self._authenticate)

        async def serve(websocket: WebSocket, found: Annotated[Any, found_by]) -> None:
            await self._serve_known(websocket, identity_of(found))

        return build(self._parts(self.user, known, None), serve)

    def _parts(self, identify: Identify, known: Known, sign_in: APIRouter | None) -> Parts:
        check_tokens(self.settings)
        backend = Backend(self._publisher, self._teamwork, self._selectors, self._ask)
        return Parts(self.settings, self._rules, self._access, identify, known, sign_in, backend)

    def _own_verifier(self) -> Verifier:
        return verifier_of(self.settings, self._teamwork.revocations)

    @property
    def _ask(self) -> Ask | None:
        return None if self._authorization is None else self._authorization.answered

    async def _selectors(self, identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return what `pattern` stands for, if the user may subscribe to it."""
        if self._authorization is not None:
            identity = await self._authorization.answered(identity, "subscribe", [str(pattern)])
        return self._access.selectors(identity, pattern)

    @contextlib.asynccontextmanager
    async def _beside(self) -> AsyncIterator[None]:
        """Run the embedded relay, and at last the emitter to its end: the relay is there for it."""
        async with contextlib.AsyncExitStack() as stack:
            if self._relay is not None:
                await stack.enter_async_context(self._relay.running())
            stack.enter_context(self._verifier.running())
            await stack.enter_async_context(contextlib.aclosing(self._publisher))
            yield

    def _client(self, client_id: str) -> ClientConnection | None:
        return None if self._clients is None else self._clients.with_id(client_id)

    def _connection_of(self, connection: Connection) -> ClientConnection | None:
        return None if self._clients is None else self._clients.connection_of(connection)

    def _make_worker(self) -> Worker:
        settings, access = self.settings, self._access
        loop = asyncio.get_running_loop()
        own = self._own_actions
        has_functions = self._authenticate is not None or self._authorization is not None
        if not (has_functions or self._hooks.are_any or own.are_any):
            assert self._verifier.tokens is not None
            worker = Worker(settings, self._verifier.tokens, access, loop, self._teamwork)
        else:
            decisions = self._decisions()
            self._clients = clients = HostClients(decisions, self._hooks, own)
            worker = Worker(settings, decisions.tokens, access, loop, self._teamwork, clients)
        worker.stats.list_kinds(self._rules.kinds.names)
        worker.rules = self._rules
        return worker

    def _decisions(self) -> Decisions:
        timeout_s = self.settings.authentication_timeout_s
        authentication: AppAuthentication | None = None
        if self._authenticate is not None:
            path = "/ws" if self._host is None else self._serving.entrance.path
            authentication = AppAuthentication(path, timeout_s)
        rules = self.settings.credential_rules
        return Decisions(
            authentication, self._authorization, rules, self._verifier.tokens, timeout_s
        )

    async def _serve_websocket(self, websocket: WebSocket) -> None:
        """Serve a client that is known by the edge's own tokens."""
        clients = self._clients
        if clients is None:
            await serve_websocket(websocket)
            return
        head = head_of(websocket)
        try:
            visitor = await clients.visitor(head, peer_of(websocket), self._reception(websocket))
        except HandshakeRefused as refused:
            await refuse(websocket, refused)
        else:
            await admit(websocket, head, visitor)

    async def _serve_known(self, websocket: WebSocket, identity: AppIdentity | None) -> None:
        """Serve a client that the application has identified, or answer its own question."""
        question = websocket.scope.get(ASKED)
        if question is not None:
            question.answer(identity)
            return
        assert self._clients is not None
        head = head_of(websocket)
        handshake = Handshake(head, peer_of(websocket), self._reception(websocket))
        try:
            visitor = self._clients.known_visitor(handshake, identity)
        except HandshakeRefused as refused:
            await refuse(websocket, refused)
        else:
            await admit(websocket, head, visitor)

    def _reception(self, websocket: WebSocket) -> Reception:
        """Return how the application is asked about a later token of a client."""
        scope = websocket.scope
        scheme, root_path = scope.get("scheme", "ws"), scope.get("app_root_path", "")
        if self._host is None:
            return Reception(self.app, self._serving.state, scheme)
        return Reception(self._host, self._host_state or self._serving.state, scheme, root_path)
