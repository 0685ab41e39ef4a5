"""`Hooks`: the functions that the application has for what happens on `/ws`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from edge.host.functions import AppFunction

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Hooks:
    """Lists of functions, called in their order, one client's after another."""

    connect: list[AppFunction] = field(default_factory=list)
    disconnect: list[AppFunction] = field(default_factory=list)
    subscribe: list[AppFunction] = field(default_factory=list)
    unsubscribe: list[AppFunction] = field(default_factory=list)
    message: list[AppFunction] = field(default_factory=list)

    @property
    def are_any(self) -> bool:
        """Whether there is a function."""
        return any((self.connect, self.disconnect, self.subscribe, self.unsubscribe, self.message))
