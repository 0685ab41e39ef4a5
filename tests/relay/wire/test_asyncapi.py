"""The AsyncAPI document, as AsyncAPI's own parser reads it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.wire.asyncapi import AsyncApiServer, asyncapi
from relay.wire.contracts import CONTRACTS, Contracts
from tests.relay.wire.exported import Cat, contracts
from tests.support.processes import ROOT


def validate(document: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    """Let AsyncAPI's parser read `document`."""
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    node = shutil.which("node", path=search)
    assert node is not None, "run the tests with `make test`, which provides node"
    return subprocess.run(
        [node, "tests/js/asyncapi-check.js"],
        input=json.dumps(document),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


SERVER = AsyncApiServer("example.org:443", "/live/ws", is_secure=True)


@pytest.mark.process
@pytest.mark.parametrize("which", ["rich", "catalogue", "none"])
def test_the_validator_of_asyncapi_accepts_it(which: str) -> None:
    listed = {"rich": contracts(), "catalogue": CONTRACTS, "none": Contracts()}[which]
    ran = validate(asyncapi(listed, SERVER, "1.2.3"))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.process
def test_the_validator_refuses_a_wrong_document() -> None:
    document = asyncapi(contracts(), SERVER, "1.2.3")
    document["operations"]["subscribe"]["action"] = "shout"
    assert validate(document).returncode == 1


def test_channels_are_topics_and_messages_are_those_of_the_socket() -> None:
    document = asyncapi(contracts(), SERVER, "1.2.3")
    server = document["servers"]["edge"]
    assert (server["host"], server["pathname"], server["protocol"]) == (
        "example.org:443",
        "/live/ws",
        "wss",
    )
    assert len(server["security"]) == 3
    channels = document["channels"]
    assert channels["order_paid"]["address"] == "order_paid"
    assert channels["order_paid"]["description"] == "An order was paid.\n\nBy anybody."
    assert channels["pet"]["address"] == "pet:{rest}"
    payload = document["components"]["messages"]["order_paid"]["payload"]
    assert payload["properties"]["topic"] == {"const": "order_paid"}
    assert payload["properties"]["data"] == {"$ref": "#/components/schemas/Paid"}
    assert document["operations"]["send_order_paid"]["action"] == "send"
    assert document["operations"]["subscribe"]["action"] == "receive"
    messages = document["components"]["messages"]
    needed = {name: messages[name]["payload"]["required"] for name in ("publish", "request")}
    assert needed == {"publish": ["action", "topic", "data"], "request": ["action", "method", "id"]}


def test_topics_get_distinct_names() -> None:
    several = Contracts()
    for topic in ("a:b", "a_b", "session", "a:*", "publish", "*"):
        several.register(topic)(Cat)
    channels = asyncapi(several, AsyncApiServer("h"), "1")["channels"]
    assert list(channels) == ["a_b", "a_b_", "session_", "a", "publish_", "all", "session"]
