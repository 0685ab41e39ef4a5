"""`Authorization`: what the application is asked about the topics of a request."""

import asyncio
from typing import Any

from edge.core.identity.access import Identity
from edge.host.authorization import Authorization
from relay.wire.topics import parse_pattern

ANN = Identity("ann", "user", 2**53)


def test_the_presence_of_a_topic_is_decided_by_the_topic_itself() -> None:
    """In whatever order both are named: one that may be seen must not bring the other."""
    asked: list[str] = []

    async def may(identity: Any, action: str, topic: str) -> bool:
        asked.append(topic)
        return not topic.startswith("room:")

    async def scenario() -> None:
        authorization = Authorization(may, 5.0)
        topics = ["room:1", "presence:room:1", "presence:hall:1", "event:*"]
        user = await authorization.answered(ANN, "subscribe", topics)
        assert user.allowed == {
            parse_pattern("room:1"): False,
            parse_pattern("hall:1"): True,
            parse_pattern("event:*"): True,
        }

    asyncio.run(scenario())
    assert asked == ["room:1", "hall:1", "event:*"]


def test_a_request_to_publish_has_answers_by_topic() -> None:
    def may(identity: Any, action: str, topic: str) -> bool:
        return (action, topic) == ("publish", "app_log")

    async def scenario() -> None:
        user = await Authorization(may, 5.0).answered(ANN, "publish", ["app_log", "event:a"])
        assert user.may_publish == {"app_log:": True, "event:a": False}

    asyncio.run(scenario())
