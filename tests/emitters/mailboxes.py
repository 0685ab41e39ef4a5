"""Mailboxes with and without a relay, and the threads that use them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emitters.core.dialogue import Dialogue
from emitters.core.outbox import Outbox, Store
from emitters.core.outgoing import Outgoing
from emitters.handover import OutboxBounds
from emitters.mailbox import Mailbox
from relay.wire.topics import parse_topic
from tests.emitters.core.messages import accepting
from tests.support.waiting import is_readable, wait_for

TIMEOUT_S = 10.0
FOREVER_S = 1000.0
"""A wait of this length has to be ended by news."""


def event(number: int = 1, topic: str = "event:a") -> Outgoing:
    return Outgoing(parse_topic(topic), b"%d" % number)


def closed_mailbox(
    max_events: int = 100, max_bytes: int = 10**9, store: Store | None = None
) -> Mailbox:
    """A mailbox whose relay is not there yet."""
    return mailbox_of(Outbox(store=store), max_events, max_bytes)


def mailbox_of(outbox: Outbox, max_events: int = 100, max_bytes: int = 10**9) -> Mailbox:
    """The mailbox of an outbox, whose relay is not there yet."""
    return Mailbox(outbox, Dialogue("manager-1", outbox), OutboxBounds(max_events, max_bytes))


def open_mailbox(
    max_events: int = 100, max_bytes: int = 10**9, store: Store | None = None
) -> Mailbox:
    """A mailbox whose dialogue is open."""
    mailbox = closed_mailbox(max_events, max_bytes, store)
    assert greeted(mailbox, 0.0) == 0
    mailbox.on_hello_accepted(accepting(0), 0.0)
    mailbox.on_subscriptions([b"\x01event:", b"\x01task:"])
    assert mailbox.is_open
    return mailbox


def greeted(mailbox: Mailbox, now: float) -> int | None:
    """Take the hello that is due, if any; return its `acknowledged`."""
    greeting = mailbox.take_hello(now)
    return None if greeting is None else greeting.acknowledged


def is_woken(mailbox: Mailbox) -> bool:
    """Whether the link thread was sent a wake-up call; takes it."""
    ready = is_readable(mailbox.wake_up.fileno())
    mailbox.wake_up.drain()
    return ready


@contextmanager
def running(target: Callable[..., object], *args: object) -> Iterator[threading.Thread]:
    """Call `target` in a thread, which ends without an error before the block does."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            target(*args)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert errors == []


def wait_until_waiting(mailbox: Mailbox, count: int = 1) -> None:
    """Wait until `count` threads wait for news of the link thread."""
    wait_for(lambda: len(mailbox.waiters._locks) == count, f"{count} threads wait")


def sleep(mailbox: Mailbox, now: float, *, may_send: bool = True) -> float:
    """Take what is new and go to sleep, as a turn of the link thread does."""
    mailbox.on_awake()
    return mailbox.prepare_to_sleep(now, may_send)
