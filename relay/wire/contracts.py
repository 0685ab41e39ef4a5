"""Contracts: the model of the `data` of each event, registered once (protocol section 3).

    from emitters import event

    @event("order_paid")
    class OrderPaid(BaseModel):
        order: int

A contract is for a topic as `emit` takes it (`order_paid`, `event:order_paid`), or for all topics
that start with a prefix (`order:*`). If several match, the topic itself counts, then the longest
prefix. A registered model checks at `emit`; the relay passes on any data, since other publishers
know no models. `relay.wire.schema_export` and `relay.wire.asyncapi` write contracts for others.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from relay.wire.errors import InvalidEnvelope
from relay.wire.topics import Pattern, Topic, parse_pattern

M = TypeVar("M", bound=type[Any])


@dataclass(frozen=True)
class Contract:
    """The model of the events on the topics of a pattern."""

    pattern: Pattern
    model: type[Any]
    """A pydantic model, a dataclass, or another type of which pydantic knows the fields."""
    title: str
    description: str
    is_checked: bool
    """Whether `emit` refuses other data; if not, the model only describes."""

    @property
    def topic(self) -> str:
        """The topic or prefix as people write it."""
        return str(self.pattern)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The validator, made when it is needed first: models may refer to later ones."""
        return TypeAdapter(self.model)

    def checked(self, data: Any) -> Any:
        """Return what the model makes of `data`, or raise `InvalidEnvelope`, which names the field.

        Values are converted as pydantic does, and missing fields get their defaults.
        """
        try:
            return self.adapter.validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            problem = first["msg"].removeprefix("Value error, ")
            raise InvalidEnvelope(
                _path(first["loc"]), f"{problem} ({self.topic} is {self.model.__name__})"
            ) from None


@dataclass
class Contracts:
    """A registry of contracts."""

    _by_topic: dict[str, Contract] = field(default_factory=dict)
    """By `Contract.topic`, in the order of registration."""
    _exact: dict[str, Contract] = field(default_factory=dict)
    """The checked contracts of single topics, by the topic on the wire."""
    _prefixes: tuple[Contract, ...] = ()
    """The checked contracts of prefixes, the longest first."""
    has_checks: bool = False
    """Whether any contract is checked."""

    def __iter__(self) -> Iterator[Contract]:
        """Yield the contracts in the order of registration."""
        return iter(list(self._by_topic.values()))

    def add(self, contract: Contract) -> None:
        """Register `contract`. Raises `ValueError` if its topic has another model.

        A class of the same module and name takes the place of the earlier one: its module was
        loaded again, or the cell of a notebook.
        """
        known = self._by_topic.get(contract.topic)
        if known is not None and _name(known.model) != _name(contract.model):
            raise ValueError(
                f"{contract.topic} has the model {_name(known.model)} already,"
                f" so {_name(contract.model)} cannot be registered"
            )
        self._by_topic[contract.topic] = contract
        checked = [each for each in self if each.is_checked]
        self.has_checks = bool(checked)
        self._exact = {each.pattern.prefix: each for each in checked if each.pattern.exact}
        self._prefixes = tuple(
            sorted(
                (each for each in checked if not each.pattern.exact),
                key=lambda each: len(each.pattern.prefix),
                reverse=True,
            )
        )

    def for_topic(self, topic: Topic) -> Contract | None:
        """Return the contract by which the events on `topic` are checked."""
        if (contract := self._exact.get(topic.text)) is not None:
            return contract
        return next((each for each in self._prefixes if each.pattern.matches(topic.text)), None)

    def checked(self, topic: Topic, data: Any) -> Any:
        """Return `data` as its contract has it, unchanged without one.

        Raises `InvalidEnvelope`, which names the field.
        """
        contract = self.for_topic(topic)
        return data if contract is None else contract.checked(data)

    def register(
        self,
        topic: str,
        *,
        title: str | None = None,
        description: str | None = None,
        check: bool = True,
    ) -> Callable[[M], M]:
        """Return a decorator that registers a class as the model of `topic`.

        `title` defaults to the name of the class, `description` to its docstring. Without `check`
        the model only describes. Raises `InvalidTopic`; the decorator raises `ValueError` if the
        topic has another model.
        """
        pattern = parse_pattern(topic)

        def register(model: M) -> M:
            if not isinstance(model, type):
                raise TypeError(f"the model of {topic} must be a class")
            text = _docstring(model) if description is None else description
            self.add(Contract(pattern, model, title or model.__name__, text, check))
            return model

        return register


CONTRACTS = Contracts()
"""The contracts of this process."""

event = CONTRACTS.register
"""Registers a class as the model of a topic; see `Contracts.register`."""


def _name(model: type[Any]) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def _docstring(model: type[Any]) -> str:
    # Not `inspect.getdoc`, which would return the docstring of a base class.
    return inspect.cleandoc(vars(model).get("__doc__") or "")


def _path(location: tuple[int | str, ...]) -> str:
    return "data" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in location
    )
