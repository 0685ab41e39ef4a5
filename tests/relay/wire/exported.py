"""Contracts with everything that a schema may hold, for the tests of the exports."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from relay.wire.contracts import Contracts


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"


class Item(BaseModel):
    """One line of an order. */ not the end of a comment"""

    name: str
    tags: set[str] = Field(default_factory=set)
    of: "Item | None" = None


class Paid(BaseModel):
    """An order was paid.

    By anybody.
    """

    model_config = ConfigDict(extra="forbid")

    order: int
    at: datetime
    currency: Currency = Currency.EUR
    how: Literal["card", "cash"] | None = None
    items: list[Item]
    by_name: dict[str, Item]
    pair: tuple[int, str]
    total: float | int
    is_new: bool = Field(alias="is-new")
    anything: Any = Field(None, description="Whatever it is.")


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class RelayEvents(BaseModel):
    """A model with the name of the module's own type."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Record(BaseModel):
    """A model with the name of a type of the language."""

    tags: list[str]


class Array(BaseModel):
    records: dict[str, Record]


class Tree(RootModel["dict[str, Tree] | list[Tree] | int"]):
    """A type that refers to itself, without a name of a field in between."""


@dataclass
class Point:
    x: int
    y: int = 0


def contracts() -> Contracts:
    contracts = Contracts()
    contracts.register("order_paid")(Paid)
    contracts.register("pet:*")(RelayEvents)
    contracts.register("pet:big*")(Cat)
    contracts.register("event:p`oint")(Point)
    contracts.register("array")(Array)
    contracts.register("tree")(Tree)
    contracts.register("described", check=False)(Point)
    return contracts
