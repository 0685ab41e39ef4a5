"""`make docs`: writes docs/events.md from the catalogue. A test checks that it is up to date."""

import sys
from pathlib import Path
from typing import Any

from relay.wire.catalogue import CATALOGUE, EventSpec

INTRODUCTION = """\
# The events

Managers may emit events of any name; these are the ones that every client can count on. Further
fields may be added to any of them. `GET /api/topics` gives the same with JSON schemas, and
`emitters.events` the names and pydantic models.

<!-- Written by `make docs` from relay/wire/events.py. -->

| topic | meaning | data |
|---|---|---|
"""


def render() -> str:
    """Return the page."""
    return INTRODUCTION + "".join(_row(spec) for spec in CATALOGUE.values())


def _row(spec: EventSpec) -> str:
    schema = spec.model.model_json_schema()
    required = set(schema.get("required", ()))
    fields = ", ".join(f"`{name}`" + ("" if name in required else "?") for name in _fields(schema))
    return f"| `{spec.topic}` | {spec.meaning} | {fields or '–'} |\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    """The field names, what an operation came to last."""
    return sorted(schema.get("properties", {}), key=lambda name: name == "result")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
