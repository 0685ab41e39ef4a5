"""The relay's sockets and its one loop.

Events come in on the XSUB (ingress), are checked and journaled, and go out on the XPUB (egress).
Subscriptions travel the other way. The ROUTER (control) answers questions and acknowledges.
"""

import fcntl
import logging
import secrets
import socket
import time
from pathlib import Path
from typing import IO

import zmq

from relay.config import RelaySettings
from relay.control import ControlDesk
from relay.core.emitters import Emitter, Emitters
from relay.core.intake import Intake
from relay.core.interest import Interest, Verdict
from relay.core.retained import Item, RetainedValues
from relay.core.retention import Limits
from relay.core.stats import RelayCounters
from relay.journal.file import FILE_NAME
from relay.journal.journal import Journal
from relay.sequencer import Ledger
from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket, open_socket, receive_frames, send_frames
from relay.wire.control import HEARTBEAT_TOPIC, pack_message
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import Stamp, pack_stamp
from relay.wire.notices import Acknowledged, Notice, Resend, pack_notice

CONTROL_BATCH = 16
"""Requests answered before events are looked at again."""
INGRESS_BATCH = 256
INGRESS_BATCH_BYTES = 4 * 1024 * 1024
"""Events taken in before they are committed and the other sockets are looked at again."""
FORGET_INTERVAL_S = 600.0

logger = logging.getLogger(__name__)


class AddressInUse(Exception):  # noqa: N818
    """An endpoint that another process listens on; the text names the setting."""


class Relay:
    """Opens the journal and binds on construction, relays in `run`, ends after `stop`.

    Raises `JournalRefused`, or `AddressInUse` when an endpoint is taken.
    """

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._started_at = time.monotonic()
        self._journal = Journal(
            settings.data_dir / FILE_NAME,
            settings.journaled_kinds,
            power_safe=settings.durability == "power",
        )
        self._assemble()
        self._log = LimitedLog(logger)
        self._stopping = False
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._stop_writer.setblocking(False)
        self._locks: list[IO[str]] = []
        self._context: zmq.Context[Socket] = zmq.Context()
        try:
            self._ingress, self._egress, self._control = self._bind()
        except AddressInUse:
            self._close()
            raise

    def _assemble(self) -> None:
        settings = self._settings
        self._interest = Interest(settings.journaled_kinds)
        self._retained = RetainedValues()
        self._emitters = Emitters(self._journal.cursors())
        self._stats = RelayCounters()
        self._intake = Intake(
            settings.journaled_kinds, self._emitters, self._stats, lambda: secrets.token_hex(12)
        )
        self._ledger = Ledger(
            self._journal,
            self._emitters,
            self._retained,
            self._intake,
            self._stats,
            Limits(int(settings.retention_s * 1000), settings.retention_bytes),
        )
        self._desk = ControlDesk(
            self._journal,
            self._emitters,
            self._intake,
            self._retained,
            self._stats,
            settings.heartbeat_s,
            _now_ms(),
            lambda: time.monotonic() - self._started_at,
            self._acknowledge,
        )

    def run(self) -> None:
        """Relay until `stop`."""
        poller = zmq.Poller()
        for source in (self._ingress, self._egress, self._control, self._stop_reader):
            poller.register(source, zmq.POLLIN)
        logger.info(
            "relaying %s to %s, control at %s, epoch %d",
            self._settings.ingress,
            self._settings.egress,
            self._settings.control,
            self._journal.epoch,
        )
        heartbeat_due_at = forget_due_at = time.monotonic()
        try:
            while not self._stopping:
                now = time.monotonic()
                if now >= heartbeat_due_at:
                    self._ledger.maintain(_now_ms())
                    self._send_tips(HEARTBEAT_TOPIC)
                    heartbeat_due_at = now + self._settings.heartbeat_s
                if now >= forget_due_at:
                    self._ledger.forget_silent_emitters(_now_ms(), self._acknowledge)
                    forget_due_at = now + FORGET_INTERVAL_S
                ready = dict(poller.poll(max(1, int((heartbeat_due_at - now) * 1000))))
                if self._egress in ready:
                    self._pass_subscriptions_on()
                if self._control in ready:
                    self._answer_requests()
                if self._ingress in ready:
                    self._relay_batch()
                for emitter in self._emitters.take_resend_requests():
                    self._tell(emitter, Resend(emitter.epoch, emitter.committed))
        finally:
            self._close()
            logger.info("stopped")

    def stop(self) -> None:
        """End `run` soon. Safe to call from a signal handler."""
        self._stopping = True
        self._stop_writer.send(b"\0")

    def _bind(self) -> tuple[Socket, Socket, Socket]:
        ingress = open_socket(self._context, zmq.XSUB)
        # Without this, a later frame of an event that starts with 0 or 1 reads as a subscription.
        ingress.setsockopt(zmq.ONLY_FIRST_SUBSCRIBE, 1)
        # A subscription above the high-water mark would be dropped without a word.
        ingress.setsockopt(zmq.SNDHWM, 0)
        egress = open_socket(self._context, zmq.XPUB)
        egress.setsockopt(zmq.SNDHWM, self._settings.egress_hwm)
        egress.setsockopt(zmq.RCVHWM, 0)
        control = open_socket(self._context, zmq.ROUTER)
        control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        control.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._bind_one(ingress, self._settings.ingress, "RELAY_INGRESS")
        self._bind_one(egress, self._settings.egress, "RELAY_EGRESS")
        self._bind_one(control, self._settings.control, "RELAY_CONTROL")
        for prefix in self._interest.always:
            ingress.send(b"\x01" + prefix)
        return ingress, egress, control

    def _bind_one(self, bound: Socket, endpoint: str, setting: str) -> None:
        if endpoint.startswith("ipc://"):
            self._lock(Path(endpoint.removeprefix("ipc://")), setting)
        try:
            bound.bind(endpoint)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(f"{setting}: {endpoint} is already in use") from None
            raise AddressInUse(f"{setting}: cannot listen on {endpoint}: {error}") from None

    def _lock(self, path: Path, setting: str) -> None:
        """Hold the lock beside an `ipc://` path: libzmq itself would take a used path over."""
        try:
            lock = open(f"{path}.lock", "w")  # noqa: SIM115 - held until the relay ends
            self._locks.append(lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AddressInUse(f"{setting}: ipc://{path} is already in use") from None
        except OSError as error:
            raise AddressInUse(f"{setting}: cannot listen on ipc://{path}: {error}") from None

    def _close(self) -> None:
        self._context.destroy(linger=0)
        self._journal.close()
        for lock in self._locks:
            lock.close()
        self._stop_reader.close()
        self._stop_writer.close()

    def _pass_subscriptions_on(self) -> None:
        while True:
            try:
                frame = self._egress.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            made, prefix = frame[:1] == b"\x01", frame[1:]
            if frame[:1] not in (b"\x00", b"\x01"):
                self._stats.received += 1
                self._refuse(InvalidFrame("a subscriber sent something else than a subscription"))
                continue
            match self._interest.judge(prefix):
                case Verdict.FORWARD:
                    self._ingress.send(frame)
                case Verdict.ANSWER if made:
                    self._send_tips(prefix)
                case _:
                    pass

    def _answer_requests(self) -> None:
        for _ in range(CONTROL_BATCH):
            try:
                frames = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            peer, request = frames[0], frames[-1]
            try:
                reply = self._desk.answer(peer, request if len(frames) == 2 else b"")
                self._control.send_multipart((peer, pack_message(reply)), zmq.NOBLOCK)
            except zmq.ZMQError as error:
                self._log.warning("reply", "a reply could not be sent: %s", error)
            except Exception:
                # A fault of ours; one request must not end the relay for everybody.
                logger.exception("a request could not be answered")

    def _relay_batch(self) -> None:
        now_ms = _now_ms()
        intake = self._intake
        for _ in range(INGRESS_BATCH):
            try:
                frames = receive_frames(self._ingress)
            except zmq.Again:
                break
            try:
                intake.take(frames, now_ms)
            except WireError as error:
                self._refuse(error)
            except Exception:
                # A fault of ours; one message must not end the relay for everybody.
                self._stats.malformed["internal_error"] += 1
                logger.exception("a message could not be relayed")
            if intake.gathered_bytes > INGRESS_BATCH_BYTES:
                break
        self._send_live_values(now_ms)
        published, to_acknowledge = self._ledger.commit(now_ms)
        intake.clear()
        for item in published:
            send_frames(self._egress, item)
        for emitter in to_acknowledge:
            self._acknowledge(emitter)

    def _send_live_values(self, now_ms: int) -> None:
        for taken in self._intake.live:
            stamp = pack_stamp(Stamp(self._journal.epoch, 0, now_ms))
            item = Item(taken.frame, stamp, taken.payload)
            self._retained.keep_live(taken.topic, item)
            self._stats.relayed[taken.topic.kind] += 1
            send_frames(self._egress, item)

    def _acknowledge(self, emitter: Emitter) -> bool:
        return self._tell(emitter, Acknowledged(emitter.epoch, emitter.committed))

    def _tell(self, emitter: Emitter, notice: Notice) -> bool:
        """Send `notice` to `emitter`; return whether it is connected where it said hello."""
        if emitter.peer is None:
            return False
        try:
            self._control.send_multipart((emitter.peer, pack_notice(notice)), zmq.NOBLOCK)
        except zmq.Again:
            pass  # Its queue is full; what is acknowledged next includes this.
        except zmq.ZMQError:
            emitter.peer = None
            return False
        return True

    def _refuse(self, error: WireError) -> None:
        self._stats.malformed[error.reason] += 1
        self._log.warning(error.reason, "dropped a malformed message: %s", error)

    def _send_tips(self, topic: bytes) -> None:
        stamp = Stamp(self._journal.epoch, 0, _now_ms())
        body = pack_message(self._desk.heartbeat())
        self._egress.send_multipart((topic, pack_stamp(stamp), body), zmq.NOBLOCK)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
