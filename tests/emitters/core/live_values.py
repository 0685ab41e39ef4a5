"""Live values and watchers for the tests of `UnsentValues` and `SentValues`."""

from collections.abc import Callable

from emitters.core.outgoing import Outgoing
from relay.wire.topics import parse_topic

ALL = 10**9
MIB = 1024 * 1024
TOPICS = ("live:a", "live:b", "live:c")


def value(topic: str, envelope: bytes = b"x") -> Outgoing:
    """Return a value of a live topic."""
    return Outgoing(parse_topic(topic), envelope)


def everybody_watches(_topic: str) -> bool:
    """Every topic is watched."""
    return True


def nobody_watches(_topic: str) -> bool:
    """No topic is watched."""
    return False


def noting(asked: list[str]) -> Callable[[str], bool]:
    """Return a demand that names no topic, and puts those that it is asked for into `asked`."""

    def is_watched(topic: str) -> bool:
        asked.append(topic)
        return False

    return is_watched
