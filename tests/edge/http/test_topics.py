"""`GET /api/topics`: the kinds that the caller may see."""

import asyncio
from typing import Any

import pytest

from edge.core.identity.access import Identity, KindAccess
from edge.core.identity.credentials import CredentialRules
from edge.core.identity.proxies import TrustedProxies
from edge.host.authorization import Authorization
from edge.host.decisions import AnsweredAccess
from edge.http.permissions import Permissions
from edge.http.topics import kinds_for
from relay.wire.grants import Grant, all_names
from relay.wire.kinds import Kind, Kinds

KINDS = Kinds.with_built_in(
    (
        Kind(
            "order_paid",
            is_stream=True,
            subscribe=all_names("shop"),
            publish=all_names("shop", "till"),
        ),
        Kind("news", subscribe=all_names("*"), presence=True),
    )
)

RULES = CredentialRules(("access_token",), (), TrustedProxies(()))


def kinds_of(role: str) -> list[dict[str, Any]]:
    permissions = Permissions(KindAccess(KINDS), RULES)
    return asyncio.run(kinds_for(Identity("alice", role, 0), KINDS, permissions))


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
    assert {each["kind"]: each["may_publish"] for each in kinds_of(role)} == expected


def test_of_an_application_a_caller_gets_the_kinds_of_which_it_may_see_all_topics() -> None:
    asked: list[tuple[str, str]] = []

    async def may(identity: Any, action: str, topic: str) -> bool:
        asked.append((action, topic))
        return topic in ("news:*", "event:*")

    permissions = Permissions(AnsweredAccess(), RULES, Authorization(may, 5.0).answered)
    kinds = asyncio.run(kinds_for(Identity("alice", "user", 0), KINDS, permissions))
    # Who may publish, the application decides for each topic.
    assert {each["kind"]: each["may_publish"] for each in kinds} == {
        "event": None,
        "task": None,
        "news": None,
    }
    assert ("subscribe", "order_paid:*") in asked
    assert {action for action, _ in asked} == {"subscribe"}


def test_each_kind_is_described() -> None:
    kinds = {each["kind"]: each for each in kinds_of("admin")}
    assert {name: each["mode"] for name, each in kinds.items()} == {
        "event": "stream",
        "task": "stream",
        "resource-monitor": "live",
        "order_paid": "stream",
        "news": "live",
    }
    assert {name for name, each in kinds.items() if each["presence"]} == {"news"}
    assert kinds["task"]["topic"] == "task:{task_id}"
    assert kinds["task"]["meaning"].startswith("The state of a task")
    assert (kinds["news"]["topic"], kinds["news"]["meaning"]) == ("news:{name}", "")


def test_of_topics_of_their_own_a_caller_is_told_the_kind() -> None:
    own = (Grant("user", "{username}:*"),)
    kinds = Kinds.with_built_in((Kind("private", subscribe=own, publish=own),))
    permissions = Permissions(KindAccess(kinds), RULES)
    found = asyncio.run(kinds_for(Identity("alice", "user", 0), kinds, permissions))
    # Which topics it may publish on, the file decides.
    assert [each["may_publish"] for each in found if each["kind"] == "private"] == [None]
    assert asyncio.run(kinds_for(Identity("alice", "guest", 0), kinds, permissions)) == found[1:2]
