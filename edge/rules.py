"""`Rules`: who may see and publish what, by `relay.toml` as it is now (protocol section 7)."""

import logging
from dataclasses import replace

from edge.core.identity.access import Access, KindAccess, PresenceAccess
from relay.shared.watched_config import WatchedConfig
from relay.wire.kinds import Kinds

logger = logging.getLogger(__name__)


class Rules:
    """The kinds and methods that hold now."""

    @classmethod
    def decided_by(
        cls, kinds: Kinds, file: WatchedConfig | None, application: Access | None = None
    ) -> tuple["Rules", Access]:
        """Return rules, and what decides by them, or the `application`."""
        if application is not None:
            return cls(kinds, None, file), PresenceAccess(application, kinds.presence)
        by_kind = KindAccess(kinds)
        return cls(kinds, by_kind, file), PresenceAccess(by_kind, kinds.presence)

    def __init__(
        self, kinds: Kinds, access: KindAccess | None = None, file: WatchedConfig | None = None
    ) -> None:
        """`access` decides by them, if it is not an application. Without `file`, they stay."""
        self.kinds = kinds
        self._access = access
        self._file = file

    async def look(self) -> bool:
        """Take the rules of a file that has changed; return whether anybody's rights may have."""
        found = None if self._file is None else await self._file.look()
        if found is None:
            return False
        kinds = _with_presence_of(self.kinds, found.kinds)
        if kinds == self.kinds:
            return False
        self.kinds = kinds
        if self._access is None:
            return False
        self._access.kinds = kinds
        logger.info("the rules of %s have changed", found.name)
        return True


def _with_presence_of(before: Kinds, now: Kinds) -> Kinds:
    """Return `now`, with presence for those kinds that have it since the start."""
    listed = (replace(each, presence=each.name in before.presence) for each in now.listed)
    return Kinds(tuple(listed), now.methods).with_presence(before.presence)
