"""The documents list exactly the names that the code has."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from edge.config import EdgeSettings
from edge.core.identity.tokens import Tokens
from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import CloseCode
from edge.endpoint import ClientEndpoint
from edge.fanout import Fanout
from edge.http.metrics import EdgeCollector, edge_registry
from edge.upstream.subscriber import RelayLink
from emitters.config import EmitterSettings
from relay.config import RelaySettings
from relay.shared.settings import Settings
from tests import event_docs

DOCS = Path(__file__).resolve().parents[1] / "docs"
README = DOCS.parent / "README.md"


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all Markdown table rows."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


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
    table = [[str(code.code), code.meaning, code.advice] for code in CloseCode]
    assert sorted(rows) == sorted(table)


def test_every_metric_is_documented() -> None:
    stats = EdgeStats()
    stats.events_received["event"] = stats.events_filtered["event"] = 1
    stats.malformed["reason"] = stats.unreadable["reason"] = stats.closed[1001] = 1
    for counts in (stats.events_forwarded, stats.retention, stats.replayed):
        counts["event"] = 1
    stats.dropped.repeated["event"] = stats.dropped.out_of_order["event"] = 1
    fanout, settings = Fanout(stats), EdgeSettings()
    endpoint = ClientEndpoint(settings, fanout, Tokens("s" * 32))
    link = RelayLink(settings, fanout, endpoint, "edge")
    collector = EdgeCollector(fanout, endpoint, link, "1")
    text = generate_latest(edge_registry(collector)).decode()
    link.close()
    exposed = set(re.findall(r"^(edge_\w+)\{", text, re.MULTILINE))
    documented = {row[0].strip("`") for row in table_rows(operations()) if "edge_" in row[0]}
    assert exposed == documented


def test_links_lead_somewhere() -> None:
    for page in (README, *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def operations() -> str:
    return (DOCS / "operations.md").read_text()


def protocol() -> str:
    return (DOCS / "protocol.md").read_text()


def test_the_events_page_is_the_catalogue() -> None:
    assert (DOCS / "events.md").read_text() == event_docs.render(), "run `make docs`"
