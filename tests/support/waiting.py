"""Waits for a condition until a deadline; the failure names the condition."""

import select

from relay.testing.waiting import wait_for

__all__ = ["is_readable", "wait_for"]


def is_readable(descriptor: int) -> bool:
    """Whether something can be read now. Unlike `select`, `poll` takes any descriptor."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
