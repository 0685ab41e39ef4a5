"""`make docs`: writes docs/events.md from the catalogue. `tests/test_docs.py` compares the two."""

import sys
from pathlib import Path
from typing import Any

from relay.wire.catalogue import CATALOGUE
from relay.wire.contracts import CONTRACTS, Contract
from relay.wire.schema_export import data_schema

INTRODUCTION = '''\
# The events

Managers may emit events of any name. The names, meanings and fields in the table below are stable;
each event may have further fields. `emitters.events` has the names and the pydantic models. They
describe: `emit` takes any map, unless `emitters.events.check_catalogue()` was called.

## Models of your own

```python
from pydantic import BaseModel

from emitters import Emitter, event


@event("order_paid")
class OrderPaid(BaseModel):
    """An order was paid."""

    order: int
    total: float = 0.0


emitter = Emitter(name="shop")
emitter.emit("order_paid", OrderPaid(order=5))
emitter.emit("order_paid", {"order": 6})  # checked, and sent with its defaults
```

`@event` takes a topic as `emit` does (`order_paid`, `event:order_paid`), or a prefix that ends in
`*` (`order:*`). The topic itself counts before a prefix, and a longer prefix before a shorter one.
Wrong data raises `InvalidEnvelope`, whose `field` is for example `data.order`. With
`@event("order_paid", check=False)` the model only describes. The relay passes on what other
publishers send, whatever the model says.

`event-relay schema --format typescript --import myapp.events` prints the models; other formats are
`jsonschema` and `asyncapi`. In TypeScript, `RelayEvents["order_paid"]` is the data of a topic. With
`EDGE_CONTRACTS=myapp.events`, `GET /api/topics` and `GET /asyncapi.json` show the same models.

## The catalogue

These 37 events are what both show by default, and the example of a package of your own.

<!-- `make docs` writes this page from relay/wire/catalogue.py. -->

| topic | meaning | data |
|---|---|---|
'''


def render() -> str:
    """Return the Markdown text of the page."""
    return INTRODUCTION + "".join(
        _row(each)
        for each in CONTRACTS
        if each.topic in {spec.topic for spec in CATALOGUE.values()}
    )


def _row(contract: Contract) -> str:
    schema = data_schema(contract)
    required = set(schema.get("required", ()))
    fields = ", ".join(f"`{name}`" + ("" if name in required else "?") for name in _fields(schema))
    return f"| `{contract.topic}` | {contract.description} | {fields or '–'} |\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    """Return the field names, with `result` last."""
    return sorted(schema.get("properties", {}), key=lambda name: name == "result")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
