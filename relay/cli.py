"""`event-relay`: run the relay, print its counters, or inspect its journal."""

import json
import signal
import socket
import time
from dataclasses import replace

import click
import zmq

from relay.config import RelaySettings
from relay.demo.cli import demo
from relay.journal.cli import journal
from relay.journal.file import JournalRefused
from relay.keys_cli import keys
from relay.net.listening import AddressInUse
from relay.schema_cli import schema
from relay.server import Relay
from relay.shared import program
from relay.shared.addresses import ZmqAddress, loopback, parse_zmq_address
from relay.shared.config_file import read_config_file
from relay.shared.console import Program
from relay.shared.curve_keys import ClientKeys
from relay.shared.extras import require_extra
from relay.shared.interruptible import poll_in_slices
from relay.shared.logs import configure
from relay.shared.process_room import require_room
from relay.shared.seconds import SECONDS
from relay.shared.settings import SettingsError, load_for, refuse
from relay.shared.shown_config import shown_config
from relay.shared.transport import connect, open_socket
from relay.shared.watched_config import WatchedConfig
from relay.wire.control import StatsReply, StatsRequest, pack_message, unpack_reply

PROGRAM = "event-relay"
NEEDED_DESCRIPTORS = 80
NEEDED_THREADS = 5
NEEDED_BYTES = 128 * 1024 * 1024
"""Address space: stacks of threads, retained values, a batch."""


@click.group(PROGRAM, cls=Program, invoke_without_command=True)
@click.version_option(package_name="event-relay", prog_name=PROGRAM)
@click.pass_context
def main(context: click.Context) -> None:
    """Relay events from emitters to edges. Without a command, run the relay.

    Settings come from the environment, and from [relay] in relay.toml: RELAY_INGRESS, RELAY_EGRESS,
    RELAY_CONTROL, RELAY_CURVE_KEY_FILE, RELAY_PLAIN_TCP, RELAY_DATA_DIR, RELAY_DURABILITY,
    RELAY_RETENTION_S, RELAY_RETENTION_BYTES, RELAY_JOURNALED_KINDS, RELAY_TASK_GRACE_S,
    RELAY_HEARTBEAT_S, RELAY_EGRESS_HWM, RELAY_EGRESS_BYTES, RELAY_LOG_LEVEL.
    """
    if context.invoked_subcommand is None:
        run()


def run() -> None:
    """Run the relay until SIGTERM or SIGINT."""
    settings = _settings()
    configure(PROGRAM, settings.log_level)
    try:
        require_room(NEEDED_DESCRIPTORS, NEEDED_THREADS, NEEDED_BYTES)
        if settings.curve_key_file is not None:
            require_extra(PROGRAM, "relay")
        watched = WatchedConfig()
        file = read_config_file()
        relay = Relay(settings, file.kinds, file.peers)
        relay.watch(watched, file.peers)
    except (SettingsError, AddressInUse, JournalRefused) as error:
        refuse(PROGRAM, error)
    # After construction: until then a signal may end the process, which has relayed nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop())
    relay.run()
    program.end()


main.add_command(demo)
main.add_command(journal)
main.add_command(keys)
main.add_command(schema)


@main.command()
def config() -> None:
    """Print the kinds of topics and the settings, each with where it comes from."""
    settings = _settings()
    for line in shown_config(settings, read_config_file()):
        click.echo(line)


@main.command()
@click.option(
    "--timeout",
    type=SECONDS,
    default=5.0,
    show_default=True,
    help="Seconds to wait for the relay.",
)
def stats(timeout: float) -> None:
    """Print the counters of the relay at RELAY_CONTROL as JSON."""
    settings = _settings()
    endpoint = str(_reachable(parse_zmq_address(settings.control)))
    context = zmq.Context()
    try:
        control = open_socket(context, zmq.DEALER)
        connect(control, endpoint, _client_keys(settings))
        deadline = time.monotonic() + timeout
        # A socket of ours can be written to only once it is connected.
        if not poll_in_slices(lambda ms: control.poll(ms, zmq.POLLOUT), timeout):
            raise click.ClickException(f"no relay at {endpoint}")
        control.send(pack_message(StatsRequest(id=1)))
        if not poll_in_slices(control.poll, deadline - time.monotonic()):
            raise click.ClickException(f"the relay at {endpoint} does not answer")
        reply = unpack_reply(control.recv_multipart()[-1], StatsRequest)
    finally:
        context.destroy(linger=0)
    if isinstance(reply, StatsReply):
        click.echo(json.dumps(reply.stats, indent=2))


def _client_keys(settings: RelaySettings) -> ClientKeys | None:
    """Return the keys with which the relay's own tools connect to it: on both sides its own."""
    return None if settings.keys is None else ClientKeys(settings.keys, settings.keys.public)


def _reachable(address: ZmqAddress) -> ZmqAddress:
    """Return where this machine reaches the relay that listens at `address`."""
    if address.host not in (name for _, name in socket.if_nameindex()):
        return loopback(address)
    require_extra(PROGRAM, "relay")
    import psutil

    of_interface = psutil.net_if_addrs().get(address.host, ())
    for found in of_interface:
        if found.family == socket.AF_INET:
            return replace(address, host=found.address)
    return loopback(address)


def _settings() -> RelaySettings:
    return load_for(PROGRAM, RelaySettings)
