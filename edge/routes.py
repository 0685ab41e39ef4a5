"""All routes of an edge as one application, to be served alone or below another one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Lifespan

from edge.access_logs import redact_access_logs
from edge.channel import Channel, Teamwork
from edge.config import EdgeSettings
from edge.core.identity.access import Access
from edge.core.identity.tokens import Tokens
from edge.http.api import api_router, asyncapi_router, operations_router
from edge.http.auth import (
    Authentication,
    Identify,
    NotYet,
    SessionCookie,
    SignOut,
    identity_router,
    sign_in_router,
    sign_out_router,
)
from edge.http.cross_origin import CrossOriginRequests
from edge.http.disconnect import disconnect_router
from edge.http.documentation import credentials_of
from edge.http.forwarded import ForwardedRequests
from edge.http.history import history_router
from edge.http.hosts import KnownHosts
from edge.http.operators import Known, Readers
from edge.http.pages import SecurityHeaders, add_pages
from edge.http.passwords import PasswordSignIn
from edge.http.permissions import Ask, Permissions
from edge.http.presence import Selectors, presence_router
from edge.http.publish import Publishing, publish_router
from edge.http.requests import HeadRequests, QuietEnd
from edge.http.revocations import revocations_router
from edge.http.tasks import tasks_router
from edge.http.users import UsersFile
from edge.http.watch import answer_not_yet, watch_router
from edge.rules import Rules
from edge.websocket.request_bounds import MAX_BODY_BYTES

ServeWebSocket = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Backend:
    """The objects behind the routes."""

    publishing: Publishing
    teamwork: Teamwork
    selectors: Selectors
    """Returns what a user may subscribe to, after it has asked whoever decides."""
    ask: Ask | None = None
    """Has the application answer what a user may do, if that decides."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of which the routes are made."""

    settings: EdgeSettings
    rules: Rules
    access: Access
    identify: Identify
    """The dependency that returns the signed-in user of a request."""
    known: Known
    """The same, but it returns None without a valid credential."""
    sign_in: APIRouter | None
    """None if users sign in elsewhere."""
    backend: Backend


def build(
    parts: Parts, serve_websocket: ServeWebSocket, lifespan: Lifespan[FastAPI] | None = None
) -> tuple[FastAPI, ASGIApp]:
    """Return the routes, and the application that serves them; `serve_websocket` is the one of
    `/ws`."""
    redact_access_logs()
    app = FastAPI(
        title="Event Relay edge",
        description="Signs users in and forwards events to them on `/ws`.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # Its redirects name the host that the request has named, which may be anybody's.
        redirect_slashes=False,
        lifespan=lifespan,
        # Our own server refuses earlier; this one is for all others.
        max_body_size=MAX_BODY_BYTES,
    )
    app.add_exception_handler(NotYet, answer_not_yet)
    credentials = []
    if parts.sign_in is not None:
        app.include_router(parts.sign_in)
        credentials = credentials_of(parts.settings)
    for router in _api(parts):
        app.include_router(router, dependencies=credentials)
    settings, rules = parts.settings, parts.settings.credential_rules
    metrics, docs = (
        Readers(setting, grants, rules.proxies, parts.known).dependency
        for setting, grants in settings.grants.items()
    )
    app.include_router(operations_router(metrics))
    app.include_router(asyncapi_router(docs, rules))
    add_pages(app, docs, settings.allowed_origins)
    app.websocket("/ws")(serve_websocket)
    readable = CrossOriginRequests(app, settings.allowed_origins)
    served = HeadRequests(SecurityHeaders(KnownHosts(readable, rules)))
    return app, QuietEnd(ForwardedRequests(served, rules.proxies))


def _api(parts: Parts) -> list[APIRouter]:
    """Return the routes that need a signed-in user."""
    identify, settings, backend = parts.identify, parts.settings, parts.backend
    rules = settings.credential_rules
    permissions, channel = Permissions(parts.access, rules, backend.ask), backend.teamwork.channel
    admin = Readers("EDGE_ADMIN_ACCESS", (settings.admin_access,), rules.proxies, parts.known)
    return [
        identity_router(identify),
        api_router(identify, parts.rules, permissions),
        tasks_router(identify),
        publish_router(identify, settings, permissions, backend.publishing),
        watch_router(identify, permissions),
        history_router(identify, permissions),
        presence_router(identify, backend.selectors),
        disconnect_router(identify, permissions, channel, admin.dependency),
        revocations_router(identify, permissions, channel, admin.dependency),
    ]


def own_sign_in(
    settings: EdgeSettings, tokens: Tokens, channel: Channel
) -> tuple[Authentication, APIRouter]:
    """Return the dependency that knows users by `tokens`, and the routes where they get these.

    Where the edge may not issue tokens, users only sign out; revocations go to all by `channel`.
    """
    rules = settings.credential_rules
    authentication = Authentication(tokens, rules)
    cookie = SessionCookie(settings.own_cookie, authentication)
    router = APIRouter()
    if tokens.can_issue:
        users, ttl_s = UsersFile(settings.users()), settings.token_ttl_s
        passwords = PasswordSignIn(tokens, users, rules, ttl_s, settings.remembered_ttl_s)
        router.include_router(sign_in_router(passwords, authentication, cookie))
    sign_out = SignOut(authentication, cookie, channel)
    router.include_router(sign_out_router(authentication, sign_out))
    return authentication, router
