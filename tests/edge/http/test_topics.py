"""`GET /api/topics`: the kinds that the caller may see."""

import pytest

from edge.core.identity.access import Identity, KindAccess
from edge.http.topics import kinds_for
from relay.wire.kinds import Kind, Kinds

KINDS = Kinds.with_built_in(
    (
        Kind("order_paid", is_stream=True, subscribe=("shop",), publish=("shop", "till")),
        Kind("news", subscribe=("*",)),
    )
)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("user", {"event": False, "task": False, "resource-monitor": False, "news": False}),
        ("shop", {"task": False, "order_paid": True, "news": False}),
        ("till", {"task": False, "news": False}),
        (
            "admin",
            {
                "event": True,
                "task": True,
                "resource-monitor": True,
                "order_paid": True,
                "news": True,
            },
        ),
    ],
)
def test_a_caller_gets_the_kinds_that_it_may_see(role: str, expected: dict[str, bool]) -> None:
    kinds = kinds_for(Identity("alice", role, 0), KINDS, KindAccess(KINDS))
    assert {each["kind"]: each["may_publish"] for each in kinds} == expected


def test_each_kind_is_described() -> None:
    listed = kinds_for(Identity("root", "admin", 0), KINDS, KindAccess(KINDS))
    kinds = {each["kind"]: each for each in listed}
    assert {name: each["mode"] for name, each in kinds.items()} == {
        "event": "stream",
        "task": "stream",
        "resource-monitor": "live",
        "order_paid": "stream",
        "news": "live",
    }
    assert kinds["task"]["topic"] == "task:{task_id}"
    assert kinds["task"]["meaning"].startswith("The state of a task")
    assert (kinds["news"]["topic"], kinds["news"]["meaning"]) == ("news:{name}", "")
