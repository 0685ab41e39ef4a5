"""`HostConversation`: what one client says, acted on after the application has decided about it.

One thing happens after another, so that the application learns of everything in its order: first
the hooks about what has happened, then the next message. Until all is done, nothing more is read
from the client.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from edge.core.identity.tokens import NotKnownYet
from edge.core.session import Session
from edge.core.websocket.close_codes import try_again
from edge.host.authorization import asked_about
from edge.host.connection import ClientConnection
from edge.host.decisions import Decisions
from edge.host.functions import AppIdentity, call
from edge.host.hooks import Hooks
from edge.websocket.client import Client
from relay.shared.logs import LimitedLog

MAX_SPARE_ANSWERS = 64
"""Answers about topics to which the client is not subscribed."""
OWN_ACTIONS = frozenset({"authenticate", "subscribe", "unsubscribe", "publish", "request"})

Step = Callable[[], Awaitable[Any]]

logger = logging.getLogger(__name__)
log = LimitedLog(logger)
"""Of all clients."""


class HostConversation:
    """One client of an application that has functions of its own."""

    def __init__(
        self,
        client: Client,
        session: Session,
        connection: ClientConnection,
        handshake: Any,
        decisions: Decisions,
        hooks: Hooks,
    ) -> None:
        """`handshake` is what `Decisions.visitor` has put into the visitor."""
        self.client = client
        self.session = session
        self.connection = connection
        self._handshake = handshake
        self._decisions = decisions
        self._hooks = hooks
        self._hooks_due: deque[Step] = deque()
        """Hooks that are to be called, because something has happened."""
        self._messages: deque[str] = deque()
        self._is_recheck_due = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for its turn."""
        return self._task is None

    def take(self, text: str) -> None:
        """Act on a message of the client when it is its turn."""
        self._messages.append(text)
        self._begin()

    def tell(self, hook: Step) -> None:
        """Call `hook` behind earlier hooks, and before the client's next message is acted on."""
        self._hooks_due.append(hook)
        self._begin()

    def recheck(self) -> None:
        """Ask the application again about all subscriptions, and end those that it refuses."""
        # Once is enough, however often it is asked for before its turn.
        if not self._is_recheck_due:
            self._is_recheck_due = True
            self.tell(self._recheck)

    def on_end(self, callback: Callable[[], object]) -> None:
        """Call `callback` when nothing waits any more."""
        if self._task is None:
            callback()
        else:
            self._task.add_done_callback(lambda _: callback())

    async def wait_end(self) -> None:
        """Wait until nothing waits any more."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _begin(self) -> None:
        if self._task is None:
            self.client.pause_reading()
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._hooks_due or self._messages:
                cause = "hook" if self._hooks_due else "message"
                try:
                    if self._hooks_due:
                        await self._hooks_due.popleft()()
                    else:
                        await self._act_on(self._messages.popleft())
                except Exception:
                    # A fault of the application must not stop the conversation.
                    log.exception(cause, "a function of the application has failed")
        finally:
            self._task = None
            self.client.resume_reading()

    async def _act_on(self, text: str) -> None:
        if self.client.closed:
            return
        read = self.session.read(text)
        # What cannot be read is answered by the session.
        message = read if isinstance(read, dict) else {}
        action = message.get("action")
        if action == "authenticate":
            try:
                prepared = await self._verified(message.get("token"))
            except NotKnownYet as error:
                self.client.close(try_again(str(error), 1))
                return
            with self._decisions.tokens.prepared(prepared):
                self._act_now(text)
        elif self.session.identity is None:
            self._admit_first(text)
        elif action == "subscribe":
            await self._decisions.ask_subscribe(self.session.identity, message.get("topic"))
            self._act_now(text)
            self._forget_answers()
        elif action == "publish":
            await self._decisions.ask_publish(self.session.identity, message.get("topic"))
            self._act_now(text)
        elif action == "request":
            await self._decisions.ask_call(self.session.identity, message.get("method"))
            self._act_now(text)
        elif self._hooks.message and isinstance(action, str) and action not in OWN_ACTIONS:
            for hook in self._hooks.message:
                await call(hook, self.connection, message)
        else:
            self._act_now(text)

    def _admit_first(self, text: str) -> None:
        """Act on `text` when its sender is known: as the user of its cookie, if there is one."""
        close = self.session.admit_by_cookie(time.monotonic(), time.time())
        if close is not None:
            self.client.close(close)
        elif self.session.identity is None:
            self._act_now(text)
        else:
            # Behind the hooks that learn of the client, with the application's answers.
            self._messages.appendleft(text)

    def _act_now(self, text: str) -> None:
        if not self.client.closed:
            close = self.session.act_on(text, time.monotonic(), time.time())
            if close is not None:
                self.client.close(close)

    async def _recheck(self) -> None:
        self._is_recheck_due = False
        identity = self.session.identity
        if self.client.closed or identity is None:
            return
        if isinstance(identity, AppIdentity):
            for pattern in tuple(identity.allowed):
                await self._decisions.ask_subscribe(identity, str(pattern))
        # Of another user, if the client has become one meanwhile, it finds nothing to end.
        self.session.recheck()

    async def _verified(self, token: Any) -> dict[str, AppIdentity]:
        """Return the user of `token`, with the application's answers for all it goes on with."""
        found = await self._decisions.verify(self._handshake, token)
        if found is None:
            return {}
        shown, identity = found
        before = self.session.identity
        if isinstance(before, AppIdentity):
            for pattern in tuple(before.allowed):
                await self._decisions.ask_subscribe(identity, str(pattern))
        return {shown: identity}

    def _forget_answers(self) -> None:
        """Keep the answers for live subscriptions only, when there are many others."""
        identity, patterns = self.session.identity, self.session.patterns
        if not isinstance(identity, AppIdentity) or patterns is None:
            return
        if len(identity.allowed) > 2 * len(patterns) + MAX_SPARE_ANSWERS:
            asked = set(map(asked_about, patterns))
            for pattern in identity.allowed.keys() - asked:
                del identity.allowed[pattern]
