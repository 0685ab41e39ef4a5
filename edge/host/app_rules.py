"""The rules of an application's edge: those of `relay.toml`, or its own `authorize`."""

from collections.abc import Iterable

from edge.core.identity.access import Access
from edge.host.decisions import AnsweredAccess
from edge.rules import Rules
from relay.shared.config_file import read_config_file
from relay.shared.settings_error import SettingsError
from relay.shared.watched_config import WatchedConfig
from relay.wire.topics import RESERVED_KINDS, is_kind


def app_rules(presence: Iterable[str], *, asks: bool) -> tuple[Rules, Access]:
    """Return the rules, and what decides: the application if it `asks` its `authorize`.

    The kinds in `presence` have it as well. Raises `SettingsError`.
    """
    file = WatchedConfig()
    kinds = read_config_file().kinds.with_presence(_checked_kinds(presence))
    return Rules.decided_by(kinds, file, AnsweredAccess() if asks else None)


def _checked_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    found = tuple(kinds)
    for kind in found:
        if not is_kind(kind) or kind in RESERVED_KINDS:
            raise SettingsError(f"presence: must be kinds of topics (one is {kind!r})")
    return found
