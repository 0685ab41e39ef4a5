"""The relay's demand at an emitter: asked for, told, and repaired."""

from emitters.core.watched_topics import RETRY_S, SILENCE_S, WatchedQuestion, WatchedTopics
from relay.wire.demand import pack_digests, topic_digest
from relay.wire.demand_messages import WatchedReply
from relay.wire.notices import DemandNotice

EPOCH = 7
FIRST = WatchedQuestion(0, 0, None)


def digests(names: str) -> bytes:
    return pack_digests(sorted(topic_digest(f"live:{name}") for name in names))


def page(names: str, version: int, *, after: int = 0, following: int | None = None) -> WatchedReply:
    return WatchedReply(
        id=1,
        epoch=EPOCH,
        after=after,
        version=version,
        snapshot=True,
        watch=digests(names),
        next=following,
    )


def changes(after: int, version: int, watch: str, unwatch: str = "") -> WatchedReply:
    return WatchedReply(
        id=1,
        epoch=EPOCH,
        after=after,
        version=version,
        snapshot=False,
        watch=digests(watch),
        unwatch=digests(unwatch),
    )


def notice(after: int, version: int, watch: str = "", unwatch: str = "") -> DemandNotice:
    return DemandNotice(EPOCH, after, version, digests(watch), digests(unwatch))


def names(topics: WatchedTopics) -> str:
    return "".join(name for name in "abcd" if topics.names(f"live:{name}"))


def known(version: int = 3) -> WatchedTopics:
    """An emitter that knows `a` and `b` to be watched."""
    topics = WatchedTopics()
    assert names(topics) == ""
    assert topics.question(0.0) == FIRST
    assert topics.take_reply(page("ab", version), 0.0)
    assert names(topics) == "ab"
    return topics


def test_nothing_is_requested_before_a_topic_is_asked_for() -> None:
    topics = WatchedTopics()
    assert (topics.due_at(100.0), topics.question(100.0)) == (None, None)
    assert not topics.names("live:a")
    assert (topics.due_at(100.0), topics.question(100.0)) == (100.0, FIRST)


def test_changes_are_told() -> None:
    topics = known()
    assert topics.take_notice(notice(3, 5, "c", "a"), 0.0)
    assert names(topics) == "bc"
    assert topics.question(0.0) is None


def test_a_notice_that_comes_again_changes_nothing() -> None:
    topics = known()
    topics.take_notice(notice(3, 5, "c", "a"), 0.0)
    assert topics.take_notice(notice(3, 5, "c", "a"), 0.0) is False
    assert topics.take_notice(notice(5, 5), 0.0) is False
    assert names(topics) == "bc"
    assert topics.question(0.0) is None


def test_after_a_lost_notice_the_changes_are_requested() -> None:
    topics = known()
    assert topics.take_notice(notice(5, 6, "d"), 0.0) is False
    assert names(topics) == "ab"
    assert topics.question(0.0) == WatchedQuestion(EPOCH, 3, None)
    assert topics.take_reply(changes(3, 6, "cd", "a"), 0.0)
    assert names(topics) == "bcd"
    assert topics.question(0.0) is None


def test_the_version_alone_shows_that_a_notice_was_lost() -> None:
    topics = known()
    topics.take_notice(notice(4, 4), 0.0)
    assert topics.question(0.0) == WatchedQuestion(EPOCH, 3, None)


def test_a_reply_that_a_notice_has_overtaken_is_not_taken() -> None:
    topics = known()
    topics.take_notice(notice(5, 5), 0.0)
    assert topics.question(0.0) is not None
    assert topics.take_notice(notice(3, 6, "c", "a"), 0.0)
    assert topics.take_reply(changes(3, 5, "a", "c"), 0.0) is False
    assert names(topics) == "bc"


def test_pages_count_once_the_last_one_is_there_and_then_the_changes_since_the_first() -> None:
    topics = WatchedTopics()
    topics.names("live:a")
    topics.question(0.0)
    assert topics.take_reply(page("a", 3, following=10), 0.0) is False
    assert names(topics) == ""
    assert topics.question(0.0) == WatchedQuestion(EPOCH, 3, 10)
    assert topics.take_notice(notice(3, 4, "d"), 0.0) is False, "not before the last page"
    assert topics.take_reply(page("b", 4, after=3), 0.0)
    assert names(topics) == "ab"
    assert topics.question(0.0) == WatchedQuestion(EPOCH, 3, None)
    topics.take_reply(changes(3, 4, "d"), 0.0)
    assert names(topics) == "abd"


def test_a_lost_page_begins_all_pages_again() -> None:
    topics = WatchedTopics()
    topics.names("live:a")
    topics.question(0.0)
    topics.take_reply(page("a", 3, following=10), 0.0)
    topics.question(0.0)
    assert topics.question(RETRY_S - 0.01) is None
    assert topics.question(RETRY_S) == FIRST
    assert topics.take_reply(page("b", 4, after=3), RETRY_S) is False, "the second page, late"
    assert names(topics) == ""


def test_another_relay_replaces_all() -> None:
    topics = known()
    assert topics.take_notice(DemandNotice(EPOCH + 1, 3, 4, digests("c"), b""), 0.0) is False
    assert names(topics) == "ab"
    assert topics.question(0.0) == WatchedQuestion(EPOCH, 3, None)
    assert topics.take_reply(page("d", 1).model_copy(update={"epoch": EPOCH + 1}), 0.0)
    assert names(topics) == "d"


def test_a_relay_that_is_silent_or_lost_or_refuses_is_asked_again() -> None:
    topics = known()
    assert topics.question(SILENCE_S - 0.01) is None
    assert topics.question(SILENCE_S) == WatchedQuestion(EPOCH, 3, None)
    topics.relay_lost()
    assert topics.question(SILENCE_S) == WatchedQuestion(EPOCH, 3, None), "at once"
    topics.take_failure()
    assert topics.question(SILENCE_S + RETRY_S) == WatchedQuestion(EPOCH, 3, None)


def test_a_notice_or_a_reply_shows_that_the_relay_is_there() -> None:
    topics = known()
    assert topics.due_at(1.0) == SILENCE_S
    topics.take_notice(notice(3, 3), 2.0)
    assert topics.due_at(2.0) == 2.0 + SILENCE_S
    assert topics.question(7.0) is not None
    topics.take_reply(changes(3, 3, ""), 7.5)
    assert topics.due_at(8.0) == 7.5 + SILENCE_S


def test_the_next_relay_is_asked_at_once() -> None:
    topics = known()
    topics.relay_lost()
    assert topics.question(0.1) == WatchedQuestion(EPOCH, 3, None)


def test_the_next_relay_is_not_asked_for_the_other_pages_of_the_last_one() -> None:
    topics = WatchedTopics()
    topics.names("live:a")
    topics.question(0.0)
    topics.take_reply(page("a", 3, following=10), 0.0)
    topics.relay_lost()
    assert topics.question(0.1) == FIRST


def test_a_relay_that_knows_no_changes_sends_pages_which_are_requested_without_a_pause() -> None:
    topics = known()
    assert topics.question(SILENCE_S) is not None
    assert topics.take_reply(page("c", 9, following=10), SILENCE_S) is False
    assert names(topics) == "ab", "until all pages are there"
    assert topics.question(SILENCE_S) == WatchedQuestion(EPOCH, 9, 10)
    assert topics.take_reply(page("d", 9, after=9), SILENCE_S) is True
    assert names(topics) == "cd"


def test_after_a_refused_page_notices_count_again() -> None:
    topics = known()
    topics.question(SILENCE_S)
    topics.take_reply(page("c", 9, following=10), SILENCE_S)
    topics.question(SILENCE_S)
    topics.take_failure()
    assert topics.take_notice(notice(3, 4, "d"), SILENCE_S) is True
    assert names(topics) == "abd"


def test_a_topic_that_is_asked_for_makes_the_demand_needed() -> None:
    topics = WatchedTopics()
    found = [topics.is_needed]
    topics.names("live:a")
    assert [*found, topics.is_needed] == [False, True]
