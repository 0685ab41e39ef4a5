"""The walk of docs/securing.md, block after block, as somebody would type them on two machines."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from emitters import Emitter, NotPermitted
from relay.testing.client import EventClient
from relay.testing.places import free_ports
from tests.support.identity_server import serving_keys
from tests.support.processes import ROOT, ManagedProcess
from tests.support.signing import PRIVATE, jwk, jwks, signed
from tests.support.snippets import BLOCK
from tests.support.terminal import Terminal, typed
from tests.support.tls import trusting
from tests.support.waiting import wait_for

PAGE = ROOT / "docs" / "securing.md"
PLACE = re.compile(
    r"# on (?P<machine>A|B)(?P<own>, in a terminal of its own)?(?:: ~/(?P<file>\S+))?"
)
SHOWN_KEY = re.compile(r'"[0-9a-f]{64}"( *# public key of (\S+))')
STARTED = {"event-relay": "relaying", "event-edge": "following the relay", "tail": "watching"}
"""The last word of a command that stays, or its subcommand, and what it prints once it works."""
A, B = "127.0.0.2", "127.0.0.1"
"""In place of the addresses of the page; B is also `localhost`."""
KEYS = jwks(
    jwk("RS256", PRIVATE["RS256"], "a", use="sig"), jwk("ES256", PRIVATE["ES256"], "b", use="sig")
)


class Block(NamedTuple):
    """A block of the page, with the addresses of the test."""

    machine: str
    file: str | None
    is_program: bool
    text: str


class Walk:
    """Two machines, an identity provider, and what has been seen on the way."""

    def __init__(self, directory: Path) -> None:
        self.ingress, self.egress, self.control, self.https, self.provider = free_ports(5)
        self.machines = {name: Terminal(directory / name) for name in "AB"}
        self.public: dict[str, str] = {}
        self.programs: dict[str, ManagedProcess] = {}
        self._keyless: tuple[Terminal, str] | None = None
        """The command that has no key, and where it was typed."""

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of the page."""
        for language, text in BLOCK.findall(PAGE.read_text()):
            head, _, body = text.partition("\n")
            place = PLACE.fullmatch(head)
            assert place is not None, f"{head!r} does not say where it is"
            assert (language == "toml") == (place["file"] is not None)
            yield Block(place["machine"], place["file"], bool(place["own"]), self._here(body))

    def do(self, block: Block) -> None:
        """Write the file, start the program, or type the commands of a block."""
        machine = self.machines[block.machine]
        if block.file is not None:
            text = SHOWN_KEY.sub(lambda match: f'"{self.public[match[2]]}"{match[1]}', block.text)
            (machine.home / block.file).write_text(text)
        elif block.is_program:
            [(command, _)] = typed(block.text)
            name = next(each for each in STARTED if f" {each}" in command)
            self.programs[name] = machine.start(command)
            self.programs[name].wait_for_output(STARTED[name])
        else:
            for command, printed in typed(block.text):
                self._type(machine, command, printed)

    def token(self, username: str, algorithm: str = "RS256", audience: str = "event-relay") -> str:
        """Return a token of the provider."""
        now = int(time.time())
        return signed(
            algorithm,
            None,
            "a" if algorithm == "RS256" else "b",
            iss=f"http://127.0.0.1:{self.provider}/realms/shop",
            aud=[audience, "account"],
            sub="0b2a",
            preferred_username=username,
            realm_access={"roles": ["offline_access", "user"]},
            iat=now,
            exp=now + 600,
        )

    def until(self, text: str, blocks: Iterator[Block]) -> None:
        """Do the next blocks, up to one with `text`."""
        for block in blocks:
            self.do(block)
            if text in block.text:
                return
        raise AssertionError(f"no block has {text}")

    def client(self, certificate: str, token: str = "") -> EventClient:
        """Return a WebSocket client of the edge that trusts the certificate."""
        context = trusting(self.machines["B"].home / "edge" / certificate)
        url = f"wss://localhost:{self.https}/ws{token and '?token='}{token}"
        return EventClient(url, ssl=context)

    def close(self) -> None:
        """End everything."""
        for machine in self.machines.values():
            machine.close()

    def _type(self, machine: Terminal, command: str, printed: str) -> None:
        """Type a command, and look whether it prints `printed`, where … stands for anything."""
        parts = [re.escape(part.strip()) for part in printed.split("…")]
        form = re.compile(".*".join(parts), re.DOTALL)
        # A new certificate is used within a second, and a revocation is known within a second.
        give_up_at = time.monotonic() + (20 if command.startswith(("status", "as ")) else 0)
        while True:
            status, output = machine.type(command)
            if form.search(output) and (printed or status == 0):
                break
            assert time.monotonic() < give_up_at, f"{command}: {status}: {output}"
        if "env -u EMITTER_CURVE_KEY_FILE" in command:
            self._keyless = machine, command
        if key := re.search(r"keys new (\S+)$", command):
            self.public[key[1]] = output.strip()

    def is_keyless_peer_told(self) -> bool:
        """Whether the relay has told of it. The command gives up soon, perhaps before it tried."""
        if "gave its handshake up" in self.programs["event-relay"].output():
            return True
        assert self._keyless is not None, "the page has such a command"
        machine, command = self._keyless
        machine.type(command)
        return False

    def _here(self, text: str) -> str:
        for shown, here in (
            ("10.0.0.1:5555", f"{A}:{self.ingress}"),
            ("10.0.0.1:5556", f"{A}:{self.egress}"),
            ("10.0.0.1:5557", f"{A}:{self.control}"),
            ("203.0.113.2", B),
            ("8443", str(self.https)),
            ("live.example.org", "localhost"),
            ("https://id.example.org", f"http://127.0.0.1:{self.provider}"),
        ):
            text = text.replace(shown, here)
        return text


needs_tools = pytest.mark.skipif(
    None in (shutil.which("curl"), shutil.which("openssl")) and os.environ.get("CI") != "true",
    reason="curl or openssl is not installed",
)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path)
    try:
        with serving_keys(walk.provider, KEYS):
            yield walk
    finally:
        walk.close()


@needs_tools
def test_from_one_machine_to_two(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = walk.blocks()
    walk.until("event-edge", blocks)
    edge = walk.machines["B"].home / "edge"
    (edge / "token").write_text(walk.token("alice"))
    (edge / "other-token").write_text(walk.token("alice", audience="shop"))
    with walk.client("tls.crt") as wrong:
        wrong.send({"action": "authenticate", "token": walk.token("alice", audience="shop")})
        assert wrong.wait_closed() == (1008, "Invalid token")
    with walk.client("tls.crt", walk.token("alice")) as alice:
        walk.until("other-token", blocks)
        assert_rights(walk, monkeypatch)
        walk.until("revoke --user", blocks)
        assert alice.wait_closed() == (1008, "Token revoked")
    watched = walk.programs["tail"]
    watched.wait_ended()
    assert "event:after_backup" in watched.output()
    assert "event:after_all" not in watched.output()
    wait_for(walk.is_keyless_peer_told, "the relay tells of the peer without a key", 60)
    walk.until("event-relay", blocks)
    bob = walk.token("bob", "ES256")
    (edge / "bob").write_text(bob)
    wait_for(lambda: "200" in walk.machines["B"].type("as bob /auth/me")[1], "the edge is back")
    with walk.client("tls.crt", bob) as client:
        client.subscribe("event:*")
        walk.until("rm manager-1.key", blocks)
        event = client.receive_on("event:after_backup")
        assert (event["source"], event["data"]) == ("manager-1", {"server_name": "creative"})
        walk.until("revoke --all", blocks)
        assert client.wait_closed() == (1008, "Token revoked")
    assert next(blocks, None) is None


def assert_rights(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program learns its rights from the relay."""
    monkeypatch.chdir(walk.machines["A"].home / "relay")
    monkeypatch.setenv("EMITTER_CURVE_KEY_FILE", "manager-1.key")
    emitter = Emitter(name="manager-1")
    assert emitter.wait_connected(20)
    with pytest.raises(NotPermitted, match="topic"):
        emitter.emit("order:1", {})
    assert emitter.close(10) == 0
