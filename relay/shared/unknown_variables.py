"""Names the variables of the environment that look like settings and are none."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

from relay.shared.settings import Settings, SettingsError, load, refuse

S = TypeVar("S", bound=Settings)

_OF_KUBERNETES = re.compile(
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\Z"
)
"""Variables that Kubernetes sets for a service named `edge`, `relay` or `emitter`."""


def unknown_variables(
    settings: type[Settings], environment: Iterable[str], others: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each name in `environment` with the prefix of `settings` that is no setting.

    `others` are further known names. A wrong name is no error: other software may use the prefix.
    """
    prefix = settings.model_config.get("env_prefix", "")
    known = {f"{prefix}{name.upper()}" for name in settings.model_fields} | set(others)
    for name in sorted({name.upper() for name in environment} - known):
        if not name.startswith(prefix) or _OF_KUBERNETES.match(name.removeprefix(prefix)):
            continue
        nearest = get_close_matches(name, sorted(known), 1, 0.8)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        # A variable's name may hold anything, and the line goes to terminals and logs.
        yield f"{ascii(name[:80])[1:-1]} is not a setting and has no effect{hint}"


def load_for(program: str, settings: type[S], others: Collection[str] = (), **overrides: Any) -> S:
    """Return the settings of `program`; write a line for each unknown variable.

    A wrong setting ends the program with one line and exit code 2.
    """
    try:
        loaded = load(settings, **overrides)
    except SettingsError as error:
        refuse(program, error)
    for line in unknown_variables(settings, os.environ, others):
        print(f"{program}: {line}", file=sys.stderr)
    return loaded
