"""Contracts: one for each topic, the nearest one counts, wrong data names its field."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from relay.wire.contracts import Contract, Contracts
from relay.wire.errors import InvalidEnvelope, InvalidTopic
from relay.wire.topics import parse_pattern, parse_topic


class Item(BaseModel):
    name: str
    count: int = 1


class Order(BaseModel):
    """An order was paid."""

    order: int
    items: list[Item] = Field(default_factory=list)

    @field_validator("order")
    @classmethod
    def _check(cls, value: int) -> int:
        if value < 0:
            raise ValueError("must not be negative")
        return value


class Other(BaseModel):
    order: str


@dataclass
class Point:
    x: int


@pytest.fixture
def contracts() -> Contracts:
    return Contracts()


def check(contracts: Contracts, topic: str, data: Any) -> Any:
    return contracts.checked(parse_topic(topic), data)


def test_a_decorated_class_stays_as_it_is_and_is_described(contracts: Contracts) -> None:
    assert contracts.register("order_paid")(Order) is Order
    [contract] = contracts
    assert (contract.topic, contract.model, contract.title) == ("order_paid", Order, "Order")
    assert contract.description == "An order was paid."
    assert contract.is_checked
    assert contracts.has_checks


def test_title_and_description_may_be_given(contracts: Contracts) -> None:
    contracts.register("a:b", title="T", description="D")(Other)
    [contract] = contracts
    assert (contract.title, contract.description) == ("T", "D")


def test_a_class_without_docstring_has_no_description(contracts: Contracts) -> None:
    """And not that of `BaseModel`."""
    contracts.register("a:b")(Other)
    assert [each.description for each in contracts] == [""]


@pytest.mark.parametrize("topic", ["Order", "a:", "", "a*b"])
def test_a_topic_that_cannot_be_is_refused(contracts: Contracts, topic: str) -> None:
    with pytest.raises(InvalidTopic):
        contracts.register(topic)


def test_a_model_must_be_a_class(contracts: Contracts) -> None:
    with pytest.raises(TypeError, match=r"^the model of a:b must be a class$"):
        contracts.register("a:b")(print)  # type: ignore[type-var]


def test_data_is_checked_and_completed(contracts: Contracts) -> None:
    contracts.register("order_paid")(Order)
    order = Order(order=5)
    assert check(contracts, "order_paid", order) is order
    assert check(contracts, "order_paid", {"order": "5", "items": [{"name": "a"}]}) == Order(
        order=5, items=[Item(name="a")]
    )


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        ({}, "data.order", "Field required (order_paid is Order)"),
        ({"order": -1}, "data.order", "must not be negative (order_paid is Order)"),
        ({"order": 1, "items": [{"name": "a"}, {}]}, "data.items[1].name", "Field required"),
        (5, "data", "Input should be a valid dictionary"),
        (Other(order="x"), "data", "Input should be a valid dictionary"),
    ],
)
def test_wrong_data_names_the_field(
    contracts: Contracts, data: Any, field: str, problem: str
) -> None:
    contracts.register("order_paid")(Order)
    with pytest.raises(InvalidEnvelope) as caught:
        check(contracts, "order_paid", data)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)
    assert "\n" not in str(caught.value)


def test_the_topic_itself_counts_before_the_longest_prefix(contracts: Contracts) -> None:
    models: dict[str, type] = {"a:*": Order, "a:b*": Other, "a:b:c": Point, "a": Item}
    for topic, each in models.items():
        contracts.register(topic)(each)

    def model(topic: str) -> type | None:
        contract = contracts.for_topic(parse_topic(topic))
        return None if contract is None else contract.model

    assert [model(topic) for topic in ("a:x", "a:b", "a:b:d", "a:b:c", "a", "b:a")] == [
        Order,
        Other,
        Other,
        Point,
        Item,
        None,
    ]


def test_other_topics_take_anything(contracts: Contracts) -> None:
    contracts.register("order_paid")(Order)
    value = object()
    assert check(contracts, "order_paid:x", value) is value


def test_a_contract_without_check_only_describes(contracts: Contracts) -> None:
    contracts.register("order_paid", check=False)(Order)
    assert check(contracts, "order_paid", {"x": 1}) == {"x": 1}
    assert not contracts.has_checks
    assert [each.topic for each in contracts] == ["order_paid"]


def test_dataclasses_are_models_too(contracts: Contracts) -> None:
    contracts.register("point:*")(Point)
    assert check(contracts, "point:a", {"x": 1}) == Point(1)
    with pytest.raises(InvalidEnvelope, match=r"^data\.x: "):
        check(contracts, "point:a", {"x": "much"})


def test_a_second_model_of_a_topic_is_refused(contracts: Contracts) -> None:
    contracts.register("order_paid")(Order)
    with pytest.raises(ValueError, match=r"^order_paid has the model .*Order already, so .*Other"):
        contracts.register("order_paid")(Other)
    assert [each.model for each in contracts] == [Order]


def test_a_cell_that_is_run_again_replaces_its_model(contracts: Contracts) -> None:
    def cell(kind: type) -> type[BaseModel]:
        class Paid(BaseModel):
            at: kind  # type: ignore[valid-type]

        return contracts.register("paid")(Paid)

    cell(int)
    newer = cell(datetime)
    assert [each.model for each in contracts] == [newer]
    assert isinstance(check(contracts, "paid", {"at": "2026-01-01T00:00:00"}), newer)


def test_a_model_may_refer_to_a_later_one(contracts: Contracts) -> None:
    contract = Contract(parse_pattern("a:b"), Other, "", "", is_checked=True)
    assert "adapter" not in vars(contract)
    assert contract.adapter is contract.adapter
