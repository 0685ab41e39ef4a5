"""`HostActions`: the application's functions for what clients publish and request."""

from collections.abc import Callable
from typing import Any

from pydantic_core import to_jsonable_python

from edge.client_actions import ActionRefused
from edge.core.hub.audience import Connection
from edge.core.protocol.requests import MethodCall, Publish
from edge.host.connection import ClientConnection
from edge.host.functions import AppFunction, call
from relay.shared.call_arguments import arguments_of
from relay.wire.calls import MAX_METHOD_CHARS, is_method
from relay.wire.topics import Pattern, Topic, parse_pattern


class HostActions:
    """Finds the function for a topic or a method, and calls it; an `OwnActions`."""

    def __init__(self, connection_of: Callable[[Connection], ClientConnection | None]) -> None:
        """`connection_of` returns a client as the functions see it; None if it is gone."""
        self._connection_of = connection_of
        self._takers: list[tuple[Pattern, AppFunction]] = []
        self._methods: dict[str, AppFunction] = {}

    @property
    def are_any(self) -> bool:
        """Whether there is a function."""
        return bool(self._takers or self._methods)

    def add_taker(self, pattern: str, function: AppFunction) -> None:
        """Have `function` take what clients publish on topics of `pattern`.

        Raises `InvalidTopic`.
        """
        self._takers.append((parse_pattern(pattern), function))

    def add_method(self, method: str, function: AppFunction) -> None:
        """Have `function` answer `method`. Raises `ValueError`."""
        if not is_method(method):
            raise ValueError(
                f"{method!r} is not a method: use 1 to {MAX_METHOD_CHARS} of a-z, 0-9, '_', '.' and"
                " '-', a letter first"
            )
        if method in self._methods:
            raise ValueError(f"{method!r} has a function already")
        self._methods[method] = function

    def takes(self, topic: Topic) -> bool:
        """Whether there is a function for what clients publish on `topic`."""
        return self._taker(topic) is not None

    def answers(self, method: str) -> bool:
        """Whether there is a function for `method`."""
        return method in self._methods

    async def publish(self, connection: Connection, request: Publish) -> Any:
        """Return what the function for the event returns. Raises `ActionRefused`."""
        taker = self._taker(request.topic)
        assert taker is not None, "the session has asked"
        client = self._present(connection)
        if request.username is not None:
            # The function is not told of it, and would take the event for one for everybody.
            raise ActionRefused("events for one user are not taken on this topic")
        return _json_form(await call(taker, client, request.topic.shown, request.data))

    async def call(self, connection: Connection, request: MethodCall) -> Any:
        """Return what the function for the method returns. Raises `ActionRefused`."""
        function = self._methods[request.method]
        client = self._present(connection)
        try:
            args, kwargs = arguments_of(function, client, request.params)
        except TypeError as error:
            raise ActionRefused(f"{request.method}: {error}") from None
        return _json_form(await call(function, *args, **kwargs))

    def _taker(self, topic: Topic) -> AppFunction | None:
        matching = (each for pattern, each in self._takers if pattern.matches(topic.text))
        return next(matching, None)

    def _present(self, connection: Connection) -> ClientConnection:
        client = self._connection_of(connection)
        if client is None:
            raise ActionRefused("the connection is gone")
        return client


def _json_form(value: Any) -> Any:
    return to_jsonable_python(value, bytes_mode="base64")
