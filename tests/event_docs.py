"""`make docs`: writes docs/events.md from the catalogue. `tests/test_docs.py` compares the two."""

import sys
from pathlib import Path
from typing import Any

from relay.wire.catalogue import CATALOGUE, EventSpec

INTRODUCTION = """\
# The events

Managers may emit events of any name. The names, meanings and fields in this table are stable;
each event may have further fields. `GET /api/topics` returns the same table with JSON schemas, and
`emitters.events` has the names and the pydantic models.

<!-- `make docs` writes this page from relay/wire/catalogue.py. -->

| topic | meaning | data |
|---|---|---|
"""


def render() -> str:
    """Return the Markdown text of the page."""
    return INTRODUCTION + "".join(_row(spec) for spec in CATALOGUE.values())


def _row(spec: EventSpec) -> str:
    schema = spec.model.model_json_schema()
    required = set(schema.get("required", ()))
    fields = ", ".join(f"`{name}`" + ("" if name in required else "?") for name in _fields(schema))
    return f"| `{spec.topic}` | {spec.meaning} | {fields or '–'} |\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    """Return the field names, with `result` last."""
    return sorted(schema.get("properties", {}), key=lambda name: name == "result")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
