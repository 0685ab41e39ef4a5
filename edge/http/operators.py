"""`Readers`: those who may read metrics and documentation, and from where operators may act.

By the settings `EDGE_METRICS_ACCESS`, `EDGE_DOCS_ACCESS` and `EDGE_ADMIN_ACCESS`: lists of grants,
of which one is enough.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from edge.core.identity.access import Identity
from edge.core.identity.credentials import bearer_tokens
from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead
from edge.http.auth import NotYet
from edge.http.forwarded import peer_of
from edge.http.token_files import files_in, read_tokens
from relay.shared.logs import LimitedLog
from relay.shared.settings_error import SettingsError
from relay.wire.kinds import ADMIN_ROLE

LOOPBACK = "loopback"
EVERYBODY = "everybody"
ADMIN = ADMIN_ROLE
USER = "user"

Known = Callable[..., Awaitable[Identity | NotYet | None]]
"""A FastAPI dependency that returns the user of a request, None without a valid credential.

`NotYet` while nobody can say whether a credential is valid.
"""

logger = logging.getLogger(__name__)
_log = LimitedLog(logger)


class Readers:
    """Those to whom one setting gives access."""

    def __init__(
        self, setting: str, grants: tuple[str, ...], proxies: TrustedProxies, known: Known
    ) -> None:
        """`setting` names it to people."""
        self._setting = setting
        self._grants = frozenset(grants)
        self._files = tuple(files_in(grants))
        self._proxies = proxies
        self._known = known

    @property
    def dependency(self) -> Any:
        """A FastAPI dependency that answers 401 or 403 to others.

        It asks for the user only if a grant depends on that: an application's `authenticate` may
        refuse a request by itself.
        """
        if not self._grants & {ADMIN, USER}:
            return Depends(self._refuse)

        async def refuse(
            request: Request, found: Annotated[Identity | NotYet | None, Depends(self._known)]
        ) -> None:
            if isinstance(found, NotYet):
                if not self._is_granted(request):
                    raise found
            elif not self._is_granted_to(found):
                await self._refuse(request)

        return Depends(refuse)

    def _is_granted_to(self, identity: Identity | None) -> bool:
        if identity is None:
            return False
        return USER in self._grants or (ADMIN in self._grants and identity.role == ADMIN_ROLE)

    async def _refuse(self, request: Request) -> None:
        if self._is_granted(request):
            return
        detail = f"Not allowed from here: see {self._setting}"
        if self._grants <= {LOOPBACK}:
            raise HTTPException(403, detail)
        raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})

    def _is_granted(self, request: Request) -> bool:
        """Return whether the request has access, whoever its user is."""
        if EVERYBODY in self._grants:
            return True
        head = RequestHead.of_scope(request.scope)
        if LOOPBACK in self._grants and self._proxies.is_local(head, peer_of(request.scope)):
            return True
        shown = [token.encode() for token in bearer_tokens(head)]
        return bool(self._files) and any(
            hmac.compare_digest(token, each) for each in self._tokens() for token in shown
        )

    def _tokens(self) -> list[bytes]:
        found: list[bytes] = []
        for path in self._files:
            # Read each time: whoever changes it has an effect at once.
            try:
                found += read_tokens(self._setting, path)
            except SettingsError as error:
                _log.error(str(path), "%s", error)
        return found
