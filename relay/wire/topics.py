"""Topics and subscription patterns (protocol section 2).

A topic is `kind:name`. A pattern is a topic, or a prefix that ends in `*`.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from relay.wire.errors import InvalidTopic

MIN_TOPIC_BYTES = 3
MAX_TOPIC_BYTES = 255

EVENT = "event"
TASK = "task"
RESOURCE_MONITOR = "resource-monitor"

# Not `$`, which also matches before a newline at the end.
_KIND = re.compile(r"[a-z0-9-]+\Z")
_KIND_START = re.compile(r"[a-z0-9-]*\Z")


class Topic(NamedTuple):
    """A valid topic and its kind."""

    text: str
    kind: str


class Pattern(NamedTuple):
    """A subscription's topics: `prefix` itself if `exact`, else all topics that start with it."""

    prefix: str
    exact: bool

    def matches(self, topic: str) -> bool:
        """Return whether an event on `topic` belongs to this subscription."""
        return topic == self.prefix if self.exact else topic.startswith(self.prefix)

    def concerns(self, kind: str) -> bool:
        """Return whether a topic of `kind` can belong to this subscription."""
        start = f"{kind}:"
        return self.prefix.startswith(start) or (not self.exact and start.startswith(self.prefix))

    def __str__(self) -> str:
        return self.prefix if self.exact else f"{self.prefix}*"


@lru_cache(maxsize=8192)
def parse_topic(text: str) -> Topic:
    """Return the topic `text`. Raises `InvalidTopic`, with the problem as its text."""
    kind, colon, name = text.partition(":")
    if not colon or not name or not _KIND.match(kind):
        raise InvalidTopic(
            f"{text!r} is not a topic: expected kind:name, the kind of a-z, 0-9 and '-'"
        )
    size = len(_encoded(text))
    if not MIN_TOPIC_BYTES <= size <= MAX_TOPIC_BYTES:
        raise InvalidTopic(
            f"a topic has {MIN_TOPIC_BYTES} to {MAX_TOPIC_BYTES} bytes, this one has {size}"
        )
    _refuse_special_characters(text, name)
    return Topic(text, kind)


# Bounded: publishers choose topics, so that an unbounded cache would be theirs to fill.
@lru_cache(maxsize=8192)
def decode_topic(frame: bytes) -> Topic:
    """Return the topic in a ZeroMQ frame. Raises `InvalidTopic`."""
    if len(frame) > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"a topic has at most {MAX_TOPIC_BYTES} bytes, this one {len(frame)}")
    try:
        text = frame.decode()
    except UnicodeDecodeError as error:
        raise InvalidTopic(f"a topic must be UTF-8: {error}") from None
    return parse_topic(text)


@lru_cache(maxsize=8192)
def parse_pattern(text: str) -> Pattern:
    """Return the subscription pattern `text`. Raises `InvalidTopic`.

    `event:after_backup` is exact, `event:before_*` a prefix, `*` everything.
    """
    if not text.endswith("*"):
        return Pattern(parse_topic(text).text, exact=True)
    prefix = text[:-1]
    kind, colon, name = prefix.partition(":")
    if not (_KIND if colon else _KIND_START).match(kind):
        raise InvalidTopic(f"no topic starts with {prefix!r}")
    if len(_encoded(prefix)) > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"a topic has at most {MAX_TOPIC_BYTES} bytes")
    _refuse_special_characters(text, name)
    return Pattern(prefix, exact=False)


def _refuse_special_characters(text: str, name: str) -> None:
    if "*" in name:
        raise InvalidTopic(f"{text!r}: '*' is allowed only at the end of a subscription")
    # Spaces other than " " are not printable and yet allowed; only a few names get so far.
    if not name.isprintable() and any(unicodedata.category(char) == "Cc" for char in name):
        raise InvalidTopic(f"{text!r}: control characters are not allowed")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidTopic(f"a topic must be UTF-8: {error}") from None
