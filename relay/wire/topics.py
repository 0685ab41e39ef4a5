"""Topics and subscription patterns (protocol section 2).

A topic is `kind:name`, or a `kind` alone. A pattern is a topic, or a prefix that ends in `*`.

On the wire and in files, a kind alone is followed by a colon, as every other kind is: so the prefix
`app_log:` finds every topic of that kind and no other.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from relay.wire.errors import InvalidTopic

MAX_TOPIC_BYTES = 255
MAX_KIND_CHARS = 64

EVENT = "event"
TASK = "task"
RESOURCE_MONITOR = "resource-monitor"
ADDRESSED = "addressed"
"""The stream of events for one user, other than tasks. Such an event on `notice:42` has the topic
`addressed:notice:42` on the wire and in files."""
PERSONAL_KINDS = frozenset({TASK, ADDRESSED})
"""The streams whose events reach the connections of their user without a subscription."""
EDGE = "edge"
"""Commands for every worker of every edge: always addressed to the user whom they concern."""
EDGE_STATE = "edge-state"
"""Live values that the workers of all edges tell each other."""
PRESENCE = "presence"
"""`presence:room:5` tells clients who is subscribed to `room:5`. It exists at edges only."""
REVOCATION = "revocation"
"""The stream of revoked tokens, from edge to edge: every relay has it, and no client sees it."""
INTERNAL_STREAMS = (ADDRESSED, REVOCATION)
"""The streams that every relay has, whatever its settings say."""
RESERVED_KINDS = frozenset({ADDRESSED, EDGE, EDGE_STATE, PRESENCE, REVOCATION})
"""Kinds of which nobody emits an event by name."""

# Not `$`, which also matches before a newline at the end.
_KIND = re.compile(rf"[a-z][a-z0-9_-]{{0,{MAX_KIND_CHARS - 1}}}\Z")
_COMMANDS = f"{ADDRESSED}:{EDGE}:"
_INTERNAL_KINDS = frozenset({EDGE_STATE, REVOCATION})
_KIND_START = re.compile(rf"(?:[a-z][a-z0-9_-]{{0,{MAX_KIND_CHARS - 1}}})?\Z")


class Topic(NamedTuple):
    """A valid topic and its kind."""

    text: str
    """As it is on the wire."""
    kind: str

    @property
    def subject(self) -> str:
        """The topic of which the event is, on the wire: without the mark of an addressed event."""
        return self.text[len(ADDRESSED) + 1 :] if self.kind == ADDRESSED else self.text

    @property
    def is_internal(self) -> bool:
        """Whether the event is from edge to edge, and for no client."""
        return self.kind in _INTERNAL_KINDS or self.text.startswith(_COMMANDS)

    @property
    def shown(self) -> str:
        """The topic as emitters and clients write it."""
        return _shown(self.subject)


class Pattern(NamedTuple):
    """A subscription's topics: `prefix` itself if `exact`, else all topics that start with it."""

    prefix: str
    exact: bool

    def matches(self, topic: str) -> bool:
        """Return whether an event on `topic` belongs to this subscription."""
        return topic == self.prefix if self.exact else topic.startswith(self.prefix)

    def meet(self, other: "Pattern") -> "Pattern | None":
        """Return the pattern of the topics that belong to both, None if no topic can."""
        narrow, wide = self, other
        if not self.exact and (other.exact or len(self.prefix) < len(other.prefix)):
            narrow, wide = other, self
        return narrow if wide.matches(narrow.prefix) else None

    def concerns(self, kind: str) -> bool:
        """Return whether a topic of `kind` can belong to this subscription."""
        start = f"{kind}:"
        return self.prefix.startswith(start) or (not self.exact and start.startswith(self.prefix))

    def __str__(self) -> str:
        return _shown(self.prefix) if self.exact else f"{self.prefix}*"


def is_kind(text: str) -> bool:
    """Return whether `text` can be a kind."""
    return bool(_KIND.match(text))


@lru_cache(maxsize=8192)
def parse_topic(text: str) -> Topic:
    """Return the topic `text`. Raises `InvalidTopic`, with the problem as its text."""
    kind, colon, name = text.partition(":")
    if bool(colon) is not bool(name):
        raise InvalidTopic(f"{text!r} is not a topic: nothing follows the colon")
    if kind in RESERVED_KINDS:
        raise InvalidTopic(f"{text!r}: Event Relay itself uses the kind {kind!r}")
    return _checked(text if colon else f"{text}:", kind, name)


def reserved_topic(kind: str, name: str) -> Topic:
    """Return the topic `name` of the reserved `kind`, for programs of this package."""
    return _checked(f"{kind}:{name}", kind, name)


def presence_subject(pattern: Pattern) -> Pattern | None:
    """Return the topic whose presence `pattern` shows, None if it shows no presence."""
    kind, _, subject = pattern.prefix.partition(":")
    if kind != PRESENCE or not pattern.exact:
        return None
    return Pattern(parse_topic(subject).text, exact=True)


@lru_cache(maxsize=8192)
def addressed_topic(topic: Topic) -> Topic:
    """Return the topic under which an event on `topic` travels to one user. Raises `InvalidTopic`.

    Tasks are always addressed, and have no other topic.
    """
    if topic.kind in PERSONAL_KINDS:
        return topic
    return _checked(f"{ADDRESSED}:{topic.text}", ADDRESSED, topic.text)


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
    if text.startswith(f"{ADDRESSED}:"):
        return addressed_topic(_wire_topic(text[len(ADDRESSED) + 1 :]))
    topic = _wire_topic(text)
    if topic.kind == EDGE:
        raise InvalidTopic(f"{text!r}: a command to edges concerns a user, and is addressed")
    return topic


# Few: clients choose patterns, and each that stays keeps a mebibyte from being freed.
@lru_cache(maxsize=256)
def parse_pattern(text: str) -> Pattern:
    """Return the subscription pattern `text`. Raises `InvalidTopic`.

    `event:after_backup` is exact, `event:before_*` a prefix, `*` everything.
    """
    kind, colon, subject = text.partition(":")
    if kind == PRESENCE and colon:
        # Of one topic: the presence of a prefix would be that of other users at any time.
        return Pattern(f"{PRESENCE}:{parse_topic(subject).shown}", exact=True)
    if not text.endswith("*"):
        return Pattern(parse_topic(text).text, exact=True)
    prefix = text[:-1]
    kind, colon, name = prefix.partition(":")
    if not (_KIND if colon else _KIND_START).match(kind) or (colon and kind in RESERVED_KINDS):
        raise InvalidTopic(f"no topic starts with {prefix!r}")
    if len(_encoded(prefix)) > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"a topic has at most {MAX_TOPIC_BYTES} bytes")
    _refuse_special_characters(text, name)
    return Pattern(prefix, exact=False)


def _wire_topic(text: str) -> Topic:
    kind, colon, name = text.partition(":")
    if not colon:
        raise InvalidTopic(f"{text!r} is not a topic: a colon follows the kind on the wire")
    if kind == PRESENCE:
        raise InvalidTopic(f"{text!r}: edges alone make events of the kind {PRESENCE!r}")
    return _checked(text, kind, name)


def _checked(text: str, kind: str, name: str) -> Topic:
    if not _KIND.match(kind):
        raise InvalidTopic(
            f"{_shown(text)!r} is not a topic: expected kind:name or a kind, which begins with a-z,"
            f" has {MAX_KIND_CHARS} characters at most, and consists of a-z, 0-9, '_' and '-'"
        )
    size = len(_encoded(text))
    if size > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"a topic has at most {MAX_TOPIC_BYTES} bytes, this one has {size}")
    _refuse_special_characters(text, name)
    return Topic(text, kind)


def _shown(text: str) -> str:
    return text[:-1] if text.find(":") == len(text) - 1 else text


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
