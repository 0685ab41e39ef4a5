"""Names the variables of the environment that look like settings and are none."""

import re
from collections.abc import Collection, Iterable, Iterator

from relay.shared.config_file import FILE_NAME, nearest

_OF_KUBERNETES = re.compile(
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\Z"
)
"""Variables that Kubernetes sets for a service named `edge`, `relay` or `emitter`."""


def unknown_variables(
    prefix: str,
    known: Collection[str],
    environment: Iterable[str],
    ignored: Collection[str] = (),
) -> Iterator[str]:
    """Yield a line for each name in `environment` that begins with `prefix` and is no setting.

    `known` are the variables that are settings, `ignored` those that belong to other software,
    all in upper case. The service links of Kubernetes belong to other software too.
    """
    for name in sorted({name.upper() for name in environment} - {*known, *ignored}):
        if not name.startswith(prefix) or _OF_KUBERNETES.match(name.removeprefix(prefix)):
            continue
        similar = nearest(name, known)
        question = f"did you mean {similar}? If" if similar else "if"
        # A variable's name may hold anything, and the line goes to terminals and logs.
        yield (
            f"{ascii(name[:80])[1:-1]}: there is no such setting; {question} it belongs to other"
            f" software, name it in ignore_variables of {FILE_NAME}"
        )
