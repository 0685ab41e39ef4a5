"""Programs under lower limits of the operating system."""

from collections.abc import Sequence


def limited(limit: str, command: Sequence[str]) -> list[str]:
    """Return `command` under `ulimit limit`; `-Sn 256` lowers the soft limit of descriptors."""
    return ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", *command]
