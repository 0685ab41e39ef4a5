"""The link thread carries events, requests and subscriptions between mailbox and relay."""

import threading

import pytest
import zmq

from emitters import Emitter, EmitterClosed, RelayUnavailable
from emitters import emitter as emitter_module
from emitters.link_loop import LinkLoop
from emitters.sender import SEND_BATCH
from relay.shared.settings import SettingsError
from relay.wire.control import ErrorReply, RetainedReply, RetainedRequest
from relay.wire.demand import pack_digests, topic_digest
from relay.wire.demand_messages import WatchedReply, WatchedRequest
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope
from relay.wire.header import Stamp, pack_stamp
from relay.wire.notices import DemandNotice, Resend, pack_demand_notice
from tests.emitters.core.test_failure import OddText
from tests.support.raw_relay import EMITTER_EPOCH, RawRelay
from tests.support.waiting import wait_for

TIMEOUT_S = 10.0
LIVE_A = pack_digests([topic_digest("live:a")])


def test_hello_says_who_the_emitter_is_and_events_wait_for_the_reply(
    relay: RawRelay, emitter: Emitter
) -> None:
    emitter.emit("event:a", {"n": 1})
    hello = relay.read_hello()
    assert (hello.role, hello.name, hello.acknowledged) == ("emitter", "manager-1", 0)
    assert hello.emitter_id is not None
    assert hello.process is not None
    assert (len(hello.emitter_id), len(hello.process)) == (16, 16)
    relay.subscribe("event:", "task:")
    assert not relay.has_event()
    relay.accept(hello)
    topic, header, envelope = relay.read_event()
    assert (topic, header.sequence) == ("event:a", 1)
    assert (header.emitter_id, header.epoch) == (hello.emitter_id, EMITTER_EPOCH)
    assert unpack_envelope(envelope, "event").data == {"n": 1}
    assert emitter.wait_connected(TIMEOUT_S)


def test_events_wait_until_every_kind_is_subscribed_to(relay: RawRelay, emitter: Emitter) -> None:
    emitter.emit("event:a", {})
    hello = relay.read_hello()
    relay.subscribe("event:")
    relay.accept(hello)
    again = relay.read_hello()
    assert not relay.has_event()
    relay.subscribe("task:")
    assert relay.read_sequences(1) == [1]
    assert again.acknowledged == 0


def test_more_than_a_batch_goes_out_in_order(relay: RawRelay, emitter: Emitter) -> None:
    count = 3 * SEND_BATCH + 1
    for number in range(count):
        emitter.emit("event:a", {"n": number})
    relay.admit()
    assert relay.read_sequences(count) == list(range(1, count + 1))


def test_an_acknowledgement_empties_the_outbox(relay: RawRelay, emitter: Emitter) -> None:
    for _ in range(3):
        emitter.emit("event:a", {})
    hello = relay.admit()
    assert relay.read_sequences(3) == [1, 2, 3]
    relay.acknowledge(hello, 3)
    assert emitter.wait_acknowledged(TIMEOUT_S)
    assert emitter.counters()["acknowledged"] == 3


def test_a_resend_notice_is_followed(relay: RawRelay, emitter: Emitter) -> None:
    for _ in range(3):
        emitter.emit("event:a", {})
    relay.admit()
    assert relay.read_sequences(3) == [1, 2, 3]
    relay.notify(Resend(EMITTER_EPOCH, 1))
    assert relay.read_sequences(2) == [2, 3]


def test_a_relay_that_comes_back_is_greeted_and_gets_what_it_does_not_have(
    relay: RawRelay, emitter: Emitter
) -> None:
    for _ in range(3):
        emitter.emit("event:a", {})
    hello = relay.admit()
    relay.read_sequences(3)
    relay.acknowledge(hello, 1)
    wait_for(lambda: emitter.counters()["acknowledged"] == 1, "the acknowledgement arrives")
    relay.restart()
    wait_for(lambda: not emitter.wait_connected(0), "the emitter notices")
    assert relay.admit(sequence=2).acknowledged == 1
    assert relay.read_sequences(1) == [3]


def test_after_a_stall_without_progress_one_event_is_sent_at_a_time(
    relay: RawRelay, emitter: Emitter
) -> None:
    for _ in range(3):
        emitter.emit("event:a", {})
    relay.admit()
    assert relay.read_sequences(3) == [1, 2, 3]
    again = relay.read_hello()
    relay.accept(again)
    assert relay.read_sequences(1) == [1]
    relay.acknowledge(again, 1)
    assert relay.read_sequences(2) == [2, 3], "with progress, all of them again"


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), SystemExit(1), KeyboardInterrupt(), OddText(lambda: None), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_callback_that_raises_does_not_end_the_emitter(
    relay: RawRelay, emitter: Emitter, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    changed = threading.Event()
    emitter.on_watch_change(fail)
    emitter.on_watch_change(changed.set)
    relay.admit()
    assert changed.wait(TIMEOUT_S), "the next callback is called too"
    emitter.emit("event:a", {})
    assert relay.read_sequences(1) == [1]


def test_a_callback_that_nobody_would_await_is_refused(emitter: Emitter) -> None:
    async def callback() -> None: ...

    with pytest.raises(TypeError, match="on_watch_change takes a plain function"):
        emitter.on_watch_change(callback)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_watch_change takes a function, not the NoneType"):
        emitter.on_watch_change(None)  # type: ignore[arg-type]


def fail() -> None:
    raise ZeroDivisionError


def test_live_values_go_to_watchers_only_and_callbacks_are_called(
    relay: RawRelay, emitter: Emitter
) -> None:
    changed = threading.Event()
    emitter.on_watch_change(fail)
    emitter.on_watch_change(changed.set)
    relay.admit()
    emitter.emit("live:a", {"n": 1})
    emitter.emit("live:a", {"n": 2})
    assert not emitter.is_watched("live:a")
    relay.subscribe("!filtered:live:a", "live:a")
    question = relay.read_request()
    assert question == WatchedRequest(id=question.id, epoch=0, after=0)
    assert not relay.has_event(), "a value waits until the demand names its topic"
    relay.send(
        WatchedReply(id=question.id, epoch=7, after=0, version=1, snapshot=True, watch=LIVE_A)
    )
    topic, header, envelope = relay.read_event()
    assert (topic, header.sequence) == ("live:a", 0)
    assert unpack_envelope(envelope, "live").data == {"n": 2}
    assert changed.wait(TIMEOUT_S), "a callback that fails does not stop the next"
    wait_for(lambda: emitter.is_watched("live:a"), "the topic is watched")
    assert not emitter.is_watched("live:ab")
    relay.notify_raw(pack_demand_notice(DemandNotice(7, 1, 2, b"", LIVE_A)))
    wait_for(lambda: not emitter.is_watched("live:a"), "the demand changes")


def test_a_demand_that_the_relay_refuses_to_tell_is_asked_for_again(
    relay: RawRelay, emitter: Emitter
) -> None:
    relay.admit()
    relay.subscribe("!filtered:live:", "live:")
    emitter.emit("live:a", {})
    for _ in range(2):
        question = relay.read_request()
        assert isinstance(question, WatchedRequest)
        relay.send(ErrorReply(id=question.id, code="bad_request", message="not now"))
    relay.subscribe("live:a")
    assert relay.read_event()[0] == "live:a", "a plain subscription needs no demand"


def test_an_emitter_without_live_topics_never_asks_for_the_demand(
    relay: RawRelay, emitter: Emitter
) -> None:
    relay.admit()
    relay.subscribe("!filtered:live:", "live:")
    emitter.emit("event:a", {})
    assert relay.read_sequences(1) == [1]
    asking = threading.Thread(target=emitter.retained, args=("live:",))
    asking.start()
    request = relay.read_request()
    assert isinstance(request, RetainedRequest), "the first request after hello"
    relay.send(RetainedReply(id=request.id, items=()))
    asking.join()


def test_callbacks_are_bounded(emitter: Emitter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitter_module, "MAX_WATCH_CALLBACKS", 2)
    for _ in range(2):
        emitter.on_watch_change(lambda: None)
    with pytest.raises(RuntimeError, match="at most 2 callbacks"):
        emitter.on_watch_change(lambda: None)


def test_a_spool_in_use_is_asked_for_again(relay: RawRelay, emitter: Emitter) -> None:
    emitter.emit("event:a", {})
    relay.subscribe("event:", "task:")
    first = relay.read_hello()
    relay.send(ErrorReply(id=first.id, code="emitter_in_use", message="another live process"))
    second = relay.read_hello()
    assert second.id != first.id
    relay.accept(second)
    assert relay.read_sequences(1) == [1]


def test_an_emitter_whose_spool_is_taken_over_refuses_events(
    relay: RawRelay, emitter: Emitter
) -> None:
    emitter.emit("event:a", {})
    hello = relay.read_hello()
    relay.send(ErrorReply(id=hello.id, code="stale_epoch", message="a newer process"))
    assert not emitter.wait_acknowledged(TIMEOUT_S)
    with pytest.raises(EmitterClosed, match="has taken over the spool of 'manager-1'"):
        emitter.emit("event:a", {})
    assert emitter.close(TIMEOUT_S) == 1, "it does not wait for what will never come"


def test_the_reply_of_a_relay_that_has_gone_is_not_its_successors(
    relay: RawRelay, emitter: Emitter
) -> None:
    relay.admit()
    assert emitter.wait_connected(TIMEOUT_S)
    emitter.emit("event:a", {})
    relay.read_sequences(1)
    stale = relay.read_hello()
    relay.unsubscribe("event:", "task:")
    wait_for(lambda: not emitter.wait_connected(0), "the emitter takes the relay for lost")
    relay.accept(stale, sequence=1)
    hello = relay.read_hello()
    assert hello.acknowledged == 0
    relay.accept(hello)
    relay.subscribe("event:", "task:")
    assert relay.read_sequences(1) == [1]


def test_retained_states_come_page_by_page(relay: RawRelay, emitter: Emitter) -> None:
    relay.admit()
    pages = [[b"live:a", b"live:b"], [b"live:c"]]
    found: list[tuple[str, Envelope]] = []
    thread = threading.Thread(target=lambda: found.extend(emitter.retained("live:", TIMEOUT_S)))
    thread.start()
    afters = []
    for index, topics in enumerate(pages):
        request = relay.read_request()
        assert isinstance(request, RetainedRequest)
        afters.append(request.after)
        items = tuple(
            (topic, pack_stamp(Stamp(1, 0, 0)), pack_envelope(envelope(topic.decode()), "live"))
            for topic in topics
        )
        following = topics[-1] if index + 1 < len(pages) else None
        relay.send(RetainedReply(id=request.id, items=items, next=following))
    thread.join(TIMEOUT_S)
    assert afters == [None, b"live:b"]
    assert [(topic, each.data["topic"]) for topic, each in found] == [
        (topic, topic) for topic in ("live:a", "live:b", "live:c")
    ]


def envelope(topic: str) -> Envelope:
    return Envelope("any", {"topic": topic}, None, "raw", 1, "id")


def test_a_relay_that_does_not_answer_is_named(relay: RawRelay, emitter: Emitter) -> None:
    with pytest.raises(RelayUnavailable, match=f"no answer from the relay at {relay.control}"):
        emitter.retained("live:", timeout=0.01)


def test_closing_waits_for_acknowledgements_and_for_the_last_report(
    relay: RawRelay, emitter: Emitter
) -> None:
    hello = relay.admit()
    emitter.emit("event:a", {})
    emitter.emit("live:unwatched", {})
    left: list[int] = []
    thread = threading.Thread(target=lambda: left.append(emitter.close(TIMEOUT_S)))
    thread.start()
    assert relay.read_sequences(1) == [1]
    relay.acknowledge(hello, 1)
    while (last := relay.answer_report())["acknowledged"] == 0 or last["conflated"] == 0:
        pass
    thread.join(TIMEOUT_S)
    assert left == [0]
    assert (last["accepted"], last["acknowledged"], last["conflated"]) == (1, 1, 1)


def test_the_last_report_is_sent_though_closing_begins_between_two_looks(
    relay: RawRelay, emitter: Emitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread has looked whether it is to end, and not yet begun to wait."""
    hello = relay.admit()
    emitter.emit("event:a", {})
    assert relay.read_sequences(1) == [1]
    relay.acknowledge(hello, 1)
    assert emitter.wait_acknowledged(TIMEOUT_S)
    link = emitter._here().link
    closing = threading.Thread(target=emitter.close, args=(60,))
    wait_ms = LinkLoop._wait_ms
    reported_before_it_waits: list[bool] = []

    def close_meanwhile(loop: LinkLoop, close_at: float | None) -> int:
        milliseconds = wait_ms(loop, close_at)
        if close_at is None:
            closing.start()
            wait_for(lambda: link._close_at is not None, "closing begins")
        else:
            reported_before_it_waits.append(loop._requests._is_last_report_made)
        return milliseconds

    monkeypatch.setattr(LinkLoop, "_wait_ms", close_meanwhile)
    # It wakes the thread up.
    relay.acknowledge(hello, 1)
    while relay.answer_report()["acknowledged"] == 0:
        pass
    closing.join(TIMEOUT_S)
    assert all(reported_before_it_waits)


def test_an_address_that_cannot_be_used_is_refused(relay: RawRelay) -> None:
    too_long = "ipc:///" + "x" * 200
    with pytest.raises(SettingsError, match=r"^EMITTER_RELAY_INGRESS: .* at most 107 bytes"):
        Emitter(name="manager-1", ingress=too_long, control=relay.control)


def test_an_emitter_whose_thread_fails_refuses_events(
    relay: RawRelay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise zmq.ZMQError(zmq.EINVAL)

    monkeypatch.setattr("emitters.link.connect", fail)
    emitter = Emitter(name="manager-1", ingress=relay.ingress, control=relay.control)
    wait_for(lambda: "has failed and takes no events" in caplog.text, "the failure is logged")
    with pytest.raises(EmitterClosed, match="this emitter has failed"):
        emitter.emit("event:a", {})
    assert emitter.close(0) == 0


def test_an_emitter_asks_for_its_epoch_until_it_has_one(relay: RawRelay, emitter: Emitter) -> None:
    first = relay.read_hello()
    assert first.emitter_epoch is None
    assert first.process is not None
    again = relay.read_hello()
    assert (again.emitter_epoch, again.process) == (None, first.process)
    relay.accept(again)
    relay.subscribe("event:", "task:")
    assert emitter.wait_connected(TIMEOUT_S)
    relay.restart()
    later = relay.read_hello()
    assert (later.emitter_epoch, later.process) == (EMITTER_EPOCH, first.process)
    assert later.epoch == 1, "the relay's, by which it notices that it has lost events"


def test_a_wrong_address_is_told_with_what_to_do(
    relay: RawRelay, emitter: Emitter, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the control socket is there; the other address is another program's."""
    relay.accept(relay.read_hello())
    wait_for(lambda: "Is EMITTER_RELAY_INGRESS the RELAY_INGRESS" in caplog.text, "it is told")
    assert relay.ingress in caplog.text
