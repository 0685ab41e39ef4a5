"""The public face: arguments, errors, closing, and what holds in threads, signals and forks."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emitters import (
    Emitter,
    EmitterClosed,
    InvalidEnvelope,
    InvalidEvent,
    InvalidTopic,
    NewEvent,
    OutboxFull,
)
from relay.shared.settings import SettingsError
from relay.wire.envelope import unpack_envelope
from tests.support.raw_relay import RawRelay

TIMEOUT_S = 10.0


def test_an_event_has_the_fields_that_were_given_and_those_that_go_without_saying(
    relay: RawRelay, emitter: Emitter
) -> None:
    relay.admit()
    ids = [
        emitter.emit("event:a", {"n": 1}),
        emitter.emit("task:1", {}, type="mine", username="alice"),
    ]
    envelopes = [unpack_envelope(relay.read_event()[2], kind) for kind in ("event", "task")]
    assert [each.id for each in envelopes] == ids
    assert [each.source for each in envelopes] == ["manager-1"] * 2
    assert [each.type for each in envelopes] == ["event", "mine"]
    assert [each.username for each in envelopes] == [None, "alice"]


def test_events_that_no_one_could_be_sent_are_refused(emitter: Emitter) -> None:
    with pytest.raises(InvalidTopic):
        emitter.emit("no topic", {})
    with pytest.raises(InvalidEnvelope) as refused:
        emitter.emit("event:a", {"players": ["a", object()]})
    assert refused.value.field == "data.players[1]"
    assert emitter.counters()["accepted"] == 0


@pytest.mark.parametrize(
    "arguments", [{"ingress": "nowhere"}, {"name": ""}, {"name": "x" * 256}, {"control": "tcp://"}]
)
def test_a_setting_that_cannot_be_used_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="EMITTER_"):
        Emitter(**arguments)  # type: ignore[arg-type]


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMITTER_RELAY_INGRES", "tcp://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"^EMITTER_RELAY_INGRES: .*EMITTER_RELAY_INGRESS"):
            Emitter()


def test_the_file_has_the_settings_of_an_emitter(
    tmp_path: Path, relay: RawRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        f"[emitter]\nname = 'from-file'\nrelay_ingress = '{relay.ingress}'\n"
        f"relay_control = '{relay.control}'\n[kinds.order]\nmode = 'stream'"
    )
    monkeypatch.setenv("EVENT_RELAY_CONFIG", str(file))
    with Emitter() as emitter:
        assert emitter.name == "from-file"
        for _ in range(2):
            emitter.emit("order:1", {})
        assert emitter.counters()["conflated"] == 0, "a stream before any relay has said so"
        emitter.close(0)
    file.write_text("[emitter]\nnmae = 'x'")
    with pytest.raises(SettingsError, match=r"relay\.toml: \[emitter\] nmae: .*name\?$"):
        Emitter()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="max_event"):
        Emitter(max_event=3)  # type: ignore[call-arg]


def test_a_full_outbox_refuses_or_waits_as_it_was_told(relay: RawRelay) -> None:
    for limits in ({"max_events": 2}, {"max_bytes": 500}, {"max_events": 2, "block_timeout_s": 0}):
        emitter = Emitter(ingress=relay.ingress, control=relay.control, **limits)  # type: ignore[arg-type]
        for _ in range(2):
            emitter.emit("event:a", {"padding": "x" * 120})
        with pytest.raises(OutboxFull):
            emitter.emit("event:a", {"padding": "x" * 120})
        assert emitter.counters()["outbox_full"] == 1
        emitter.close(0)


def test_a_waiting_emit_goes_on_when_the_relay_acknowledges(relay: RawRelay) -> None:
    limits = {"max_events": 1, "block_timeout_s": TIMEOUT_S}
    emitter = Emitter(ingress=relay.ingress, control=relay.control, **limits)  # type: ignore[arg-type]
    emitter.emit("event:a", {})
    thread = threading.Thread(target=emitter.emit, args=("event:b", {}))
    thread.start()
    hello = relay.admit()
    assert relay.read_sequences(1) == [1]
    relay.acknowledge(hello, 1)
    thread.join(TIMEOUT_S)
    assert relay.read_event()[0] == "event:b"
    assert emitter.close(0) == 1


def test_a_name_is_the_source_and_not_the_identity(relay: RawRelay) -> None:
    with Emitter(name="shell", ingress=relay.ingress, control=relay.control) as emitter:
        first = relay.read_hello()
        emitter.close(0)
    relay.restart()
    with Emitter(name="shell", ingress=relay.ingress, control=relay.control) as emitter:
        second = relay.admit()
        emitter.emit("event:a", {})
        assert unpack_envelope(relay.read_event()[2], "event").source == "shell"
        emitter.close(0)
    assert (first.name, second.name) == ("shell", "shell")
    assert first.emitter_id != second.emitter_id


def test_closing_twice_returns_the_same_and_ends_the_thread(emitter: Emitter) -> None:
    emitter.emit("event:a", {})
    assert [emitter.close(0), emitter.close(TIMEOUT_S)] == [1, 1]
    assert not [each for each in threading.enumerate() if each.name == "emitter-manager-1"]
    for _ in range(2):
        with pytest.raises(EmitterClosed, match="this emitter was closed"):
            emitter.emit("event:a", {})
    with pytest.raises(EmitterClosed):
        emitter.retained("live:")
    assert not emitter.wait_connected(0)


def test_importing_it_brings_neither_the_edge_nor_the_spool() -> None:
    """A manager that only emits needs no web framework, and no file locks."""
    check = "import sys, emitters; print(*sorted({'fastapi', 'uvicorn', 'emitters.spool', "
    check += "'relay.shared.file_lock', 'psutil'} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=50
    )
    assert shown.stdout.strip() == ""


def test_an_async_close_lets_the_event_loop_go_on(relay: RawRelay) -> None:
    async def close() -> int:
        emitter = Emitter(name="manager-1", ingress=relay.ingress, control=relay.control)
        emitter.emit("event:a", {})
        closing = asyncio.create_task(emitter.aclose(TIMEOUT_S))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not closing.done(), "the relay is away, and the loop goes on"
        hello = await asyncio.to_thread(relay.admit)
        assert await asyncio.to_thread(relay.read_sequences, 1) == [1]
        relay.acknowledge(hello, 1)
        while not closing.done():
            # The reports are answered as well, or the end would wait for the last one.
            if await asyncio.to_thread(relay.has_request, 50):
                relay.answer_report()
        return await closing

    async def leave() -> Emitter:
        async with Emitter(name="m", ingress=relay.ingress, control=relay.control) as emitter:
            return emitter

    assert asyncio.run(close()) == 0
    with pytest.raises(EmitterClosed):
        asyncio.run(leave()).emit("event:a", {})


def test_many_events_are_emitted_or_none(relay: RawRelay, emitter: Emitter) -> None:
    relay.admit()
    with pytest.raises(InvalidEvent, match=r"event 1: data\.x") as refused:
        emitter.emit_many([NewEvent("event:a", 1), NewEvent("event:b", {"x": object()})])
    assert (refused.value.index, type(refused.value.error)) == (1, InvalidEnvelope)
    ids = emitter.emit_many(
        [NewEvent("event:a", 1), NewEvent("task:b", {}, "mine", "alice", once="key")]
    )
    frames = [relay.read_event() for _ in ids]
    assert [frame[0] for frame in frames] == ["event:a", "task:b"]
    assert [unpack_envelope(frame[2], "event").id for frame in frames] == ids
    assert ids[1].startswith("once:")
    assert emitter.counters()["accepted"] == 2


def test_one_key_is_one_id_in_every_process(emitter: Emitter) -> None:
    first = emitter.emit("event:a", 1, once="order 42")
    assert emitter.emit("event:a", 1, once="order 42") == first
    assert emitter.emit("event:a", 1, once="order 43") != first


def test_acknowledgements_are_awaited_without_a_thread(relay: RawRelay, emitter: Emitter) -> None:
    async def emit() -> list[bool]:
        told = [await emitter.connected(0), await emitter.acknowledged(0)]
        emitter.emit("event:a", 1)
        waits = [asyncio.create_task(emitter.acknowledged(TIMEOUT_S)) for _ in range(100)]
        connects = asyncio.create_task(emitter.connected(TIMEOUT_S))
        told.append(await emitter.acknowledged(0.01))
        threads = threading.active_count()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as calls:
            hello = await loop.run_in_executor(calls, relay.admit)
            told.append(await connects)
            await loop.run_in_executor(calls, relay.read_event)
            relay.acknowledge(hello, 1)
            told += set(await asyncio.gather(*waits))
            # One of an earlier test may have ended meanwhile.
            assert threading.active_count() <= threads + 1, "that of the relay's calls"
        return told

    assert asyncio.run(emit()) == [False, True, False, True, True]


def test_a_closed_emitter_ends_the_waits(emitter: Emitter) -> None:
    async def wait() -> list[bool]:
        emitter.emit("event:a", 1)
        waits = [emitter.acknowledged(1000.0), emitter.connected(1000.0)]
        waiting = asyncio.gather(*waits)
        await asyncio.sleep(0)
        await emitter.aclose(0)
        return await asyncio.wait_for(waiting, TIMEOUT_S)

    assert asyncio.run(wait()) == [False, False]
