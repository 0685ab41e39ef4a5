"""The documents list exactly the names that the code has."""

import asyncio
import re
from pathlib import Path
from typing import get_args

import pytest

from edge.channel import Teamwork
from edge.config import EdgeSettings
from edge.core.identity.access import KindAccess
from edge.core.identity.tokens import Tokens
from edge.core.protocol import replies
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.server_protocol import NEXT_STATES, State
from edge.host.publisher import Publisher
from edge.http.metrics import exposition, snapshot
from edge.worker import Worker
from emitters.config import EmitterSettings
from emitters.core.dialogue import TRANSITIONS
from relay.config import RelaySettings
from relay.shared.settings import Settings
from relay.wire import control
from relay.wire.kinds import Kinds
from tests import event_docs

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md"))


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all Markdown table rows."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def rows_below(heading: str) -> list[list[str]]:
    """Return the cells of the protocol's table whose first line begins with `heading`."""
    table = protocol().partition(f"\n{heading}")[2].partition("\n\n")[0]
    return table_rows(table)[1:]


@pytest.mark.parametrize("settings", [RelaySettings, EdgeSettings, EmitterSettings])
def test_every_setting_is_documented_with_its_default(settings: type[Settings]) -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in table_rows(operations())}
    prefix = str(settings.model_config["env_prefix"])
    names = {f"{prefix}{name.upper()}": field for name, field in settings.model_fields.items()}
    listed = {name for name in rows if name.startswith(prefix) and name != "EMITTER_RELAY_EGRESS"}
    assert listed == set(names)
    for name, field in names.items():
        if isinstance(field.default, str | int | float):
            assert rows[name] == str(field.default)


def test_the_close_codes_of_the_protocol_are_the_codes_table() -> None:
    rows = [row for row in table_rows(protocol()) if re.fullmatch(r"\d{4}", row[0])]
    table = [[str(code.code), code.meaning, code.advice, str(code.legacy)] for code in CloseCode]
    assert sorted(rows) == sorted(table)


def test_every_control_request_is_documented() -> None:
    requests = {request.model_fields["op"].default for request in get_args(control.Request)}
    assert {row[0].strip("`") for row in rows_below("| `op` |")} == requests


def test_every_error_code_is_documented() -> None:
    of_control = set(get_args(control.ErrorReply.model_fields["code"].annotation))
    assert {row[0].strip("`") for row in rows_below("| `code` |")} == of_control
    of_clients = set(get_args(replies.ErrorCode))
    assert {row[1].strip("`") for row in rows_below("| message | code |")} == of_clients


def test_the_dialogue_of_the_protocol_is_the_emitters_table() -> None:
    matrix = protocol().partition("leads from a state to the next")[2].partition("|\n\n")[0]
    signals, _, *rows = table_rows(f"{matrix}|")
    documented = {
        (state, signal): following
        for state, *cells in rows
        for signal, following in zip(signals[1:], cells, strict=True)
        if following
    }
    assert documented == {
        (state.name.lower(), signal.name.lower().replace("_", " ")): following.name.lower()
        for (state, signal), following in TRANSITIONS.items()
    }


def test_the_closing_states_of_the_protocol_are_the_edges() -> None:
    rows = rows_below("| state | message or event | next state | the edge |")
    documented = {(state, row[2]) for row in rows for state in row[0].split(", ")}
    assert {pair for pair in documented if pair[0] != pair[1]} == {
        (state.name.lower(), following.name.lower())
        for state in State
        for following in NEXT_STATES[state]
    }


async def scrape() -> str:
    """Return the metrics of a worker in which every labelled counter has a value."""
    settings = EdgeSettings()
    worker = Worker(
        settings,
        Tokens("s" * 32),
        KindAccess(Kinds()),
        asyncio.get_running_loop(),
        Teamwork(Publisher(settings)),
    )
    stats = worker.stats
    stats.events_received["event"] = stats.events_filtered["event"] = 1
    stats.sign_ins["wrong"] = stats.http.publish_requests["published"] = 1
    stats.arrivals.requests_refused["413"] = stats.arrivals.address_refusals["rate"] = 1
    stats.malformed["reason"] = stats.unreadable["reason"] = stats.closed[1001] = 1
    stats.arrivals.messages_refused["too_deep"] = 1
    for counts in (stats.events_forwarded, stats.retention, stats.replayed):
        counts["event"] = 1
    stats.dropped.repeated["event"] = stats.dropped.out_of_order["event"] = 1
    async with worker.running(owns_process=False):
        return exposition([snapshot(worker.metrics)]).decode()


def test_every_metric_is_documented() -> None:
    text = asyncio.run(scrape())
    exposed = set(re.findall(r"^(edge_\w+)\{", text, re.MULTILINE))
    documented = {row[0].strip("`") for row in table_rows(operations()) if "edge_" in row[0]}
    assert exposed == documented


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def operations() -> str:
    return (DOCS / "operations.md").read_text()


def protocol() -> str:
    return (DOCS / "protocol.md").read_text()


def test_each_attack_names_a_test_that_exists() -> None:
    links = re.findall(r"\[`(\w+)`\]\(\.\./(tests/\S+?\.py)\)", (DOCS / "attacks.md").read_text())
    rows = [row for row in table_rows((DOCS / "attacks.md").read_text()) if "`test" in row[-1]]
    missing = [
        (name, path)
        for name, path in links
        if not re.search(rf"^ *(?:def|class) {name}\b", (DOCS.parent / path).read_text(), re.M)
    ]
    assert missing == []
    assert len(links) >= len(rows) > 60


def test_the_events_page_is_the_catalogue() -> None:
    assert (DOCS / "events.md").read_text() == event_docs.render(), "run `make docs`"
