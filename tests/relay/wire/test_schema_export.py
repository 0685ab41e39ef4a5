"""The exports of contracts: one JSON schema that validators read, and TypeScript that compiles."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay.wire.catalogue import CATALOGUE
from relay.wire.contracts import CONTRACTS, Contracts
from relay.wire.schema_export import DIALECT, json_schema, typescript
from tests.relay.wire.exported import contracts
from tests.support.processes import ROOT

USE = """
import type { RelayEvents, RelayEventData } from "./events.js";

const paid = {} as RelayEvents["order_paid"];
export const order: number = paid.order;
export const how: "card" | "cash" | null = paid.how;
export const isNew: boolean = paid["is-new"];
export const name: string | undefined = paid.items[0]?.of?.name;
export const pair: [number, string] = paid.pair;
export const currency: "EUR" | "USD" = paid.currency;
export const kind: "cat" = ({} as RelayEventData<"pet:big:tom">).kind;
export const pet: "cat" | "dog" = ({} as RelayEventData<"pet:rex">).pet.kind;
export const y: number | undefined = ({} as RelayEvents["described"]).y;
export const tag: string | undefined = ({} as RelayEvents["array"]).records["a"]?.tags[0];
export const tree: RelayEvents["tree"] = { a: [1, { b: 2 }] };
export const certain: number = ({} as RelayEvents["event:p`oint"]).y;
"""
WRONG = """
import type { RelayEvents, RelayEventData } from "./events.js";

// @ts-expect-error it is a number
export const order: string = ({} as RelayEvents["order_paid"]).order;
// @ts-expect-error no such field
export const none = ({} as RelayEvents["order_paid"]).none;
// @ts-expect-error not checked, so it may be missing
export const y: number = ({} as RelayEvents["described"]).y;
// @ts-expect-error nothing is known of other topics
export const other: string = ({} as RelayEventData<"other">);
"""


def compile_typescript(directory: Path) -> str:
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    node = shutil.which("node", path=search)
    assert node is not None, "run the tests with `make test`, which provides node"
    compiler = [node, str(ROOT / "node_modules/typescript/bin/tsc")]
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    (directory / "package.json").write_text('{"type": "module"}')
    files = sorted(str(path) for path in directory.glob("*.ts"))
    ran = subprocess.run(
        [*compiler, *options, "--noUncheckedIndexedAccess", *files],
        capture_output=True, text=True, timeout=100, check=False, cwd=directory,
    )  # fmt: skip
    return ran.stdout + ran.stderr


@pytest.mark.process
def test_typescript_compiles_and_has_the_types(tmp_path: Path) -> None:
    (tmp_path / "events.ts").write_text(typescript(contracts()))
    (tmp_path / "use.ts").write_text(USE)
    (tmp_path / "wrong.ts").write_text(WRONG)
    assert compile_typescript(tmp_path) == ""


@pytest.mark.process
def test_the_typescript_of_the_catalogue_compiles(tmp_path: Path) -> None:
    text = typescript(CONTRACTS)
    (tmp_path / "events.ts").write_text(text)
    assert compile_typescript(tmp_path) == ""
    assert text.count('"event:') == len(CATALOGUE)


def test_comments_cannot_be_ended_by_a_docstring() -> None:
    text = typescript(contracts())
    assert "*\\/ not the end" in text
    assert "/**\n * An order was paid.\n * \n * By anybody.\n */\nexport interface Paid {" in text


def test_nothing_registered_is_a_module_too() -> None:
    assert "export interface RelayEvents {\n}\n" in typescript(Contracts())


def test_one_json_schema_of_all_topics() -> None:
    schema = json_schema(contracts())
    assert schema["$schema"] == DIALECT
    assert list(schema["properties"]) == [
        "order_paid",
        "event:p`oint",
        "array",
        "tree",
        "described",
    ]
    assert list(schema["patternProperties"]) == ["^pet:", "^pet:big"]
    assert schema["properties"]["order_paid"] == {"$ref": "#/$defs/Paid"}
    assert schema["$defs"]["Paid"]["required"][0] == "order"
    assert schema["$defs"]["Item"]["properties"]["of"]["anyOf"][0] == {"$ref": "#/$defs/Item"}


def test_defaults_are_certain_only_where_data_is_checked() -> None:
    definitions = json_schema(contracts())["$defs"]
    required = sorted(
        each["required"] for name, each in definitions.items() if name.startswith("Point")
    )
    assert required == [["x"], ["x", "y"]]
