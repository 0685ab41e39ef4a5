"""`Authorization`: what a user may do, by the application's `authorize`."""

import asyncio
import logging
from collections.abc import Iterable
from typing import overload

from edge.core.identity.access import Identity
from edge.host.functions import AppFunction, AppIdentity, call
from relay.shared.logs import LimitedLog
from relay.wire.topics import Pattern, parse_pattern, parse_topic, presence_subject

logger = logging.getLogger(__name__)


class Authorization:
    """Asks `authorize`; a failure of it, and no answer within `timeout_s`, counts as no."""

    def __init__(self, authorize: AppFunction, timeout_s: float) -> None:
        self._authorize = authorize
        self._timeout_s = timeout_s
        self._log = LimitedLog(logger)

    async def is_allowed(self, identity: AppIdentity, action: str, topic: str) -> bool:
        """Return the answer about one topic or pattern."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return bool(await call(self._authorize, identity, action, topic))
        except TimeoutError:
            text = "authorize has not answered within %g s: %s"
            self._log.error("timeout", text, self._timeout_s, topic)
        except Exception:  # noqa: BLE001 - logged
            self._log.exception("fault", "authorize has failed")
        return False

    async def answered(self, identity: Identity, action: str, topics: Iterable[str]) -> AppIdentity:
        """Return the user of a request, with the answers about `topics` for `AnsweredAccess`."""
        user = own(identity)
        if action == "publish":
            for topic in dict.fromkeys(topics):
                is_allowed = await self.is_allowed(user, action, topic)
                user.may_publish[parse_topic(topic).text] = is_allowed
            return user
        for pattern in dict.fromkeys(asked_about(parse_pattern(topic)) for topic in topics):
            user.allowed[pattern] = await self.is_allowed(user, action, str(pattern))
        return user


def asked_about(pattern: Pattern) -> Pattern:
    """Return the pattern that decides about `pattern`: who may see a topic may see its presence."""
    return presence_subject(pattern) or pattern


@overload
def own(identity: Identity) -> AppIdentity: ...


@overload
def own(identity: None) -> None: ...


def own(identity: Identity | None) -> AppIdentity | None:
    """Return `identity` as one of a single connection, which holds the application's answers."""
    if identity is None or isinstance(identity, AppIdentity):
        return identity
    return AppIdentity(
        identity.username,
        identity.role,
        identity.expires_at,
        identity.more_roles,
        identity.issued_at,
        identity.token_id,
    )
