"""Contracts as JSON Schema and as TypeScript, for programs that receive the events."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from relay.wire.contracts import Contract

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_TAKEN = frozenset(
    """RelayEvents RelayEventData Array
    any bigint boolean never null number object string symbol undefined unknown void
    as async await case catch const debugger default delete do enum export extends false function
    implements in instanceof interface let new package private protected public static super switch
    this throw true try typeof var""".split()  # noqa: SIM905
)
"""Names that the module uses itself, and words that cannot be names of types."""
_HEAD = "// Written by `event-relay schema --format typescript`.\n"


class _DataSchemas(GenerateJsonSchema):
    """Makes schemas of what clients get, in the words of JSON Schema alone."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> Schema:
        """See pydantic. Without `discriminator`, to which AsyncAPI gives another meaning."""
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        """See pydantic. Whoever serializes a model writes the fields that have a default, too."""
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return not field.get("serialization_exclude")
        return super().field_is_required(field, total)


def data_schema(contract: Contract) -> Schema:
    """Return the JSON schema of the data of one contract; see `data_schemas`."""
    return contract.adapter.json_schema(mode=_mode(contract), schema_generator=_DataSchemas)


def data_schemas(
    contracts: Iterable[Contract], ref_template: str = "#/$defs/{model}"
) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the JSON schema of the data by topic, and the definitions to which they refer.

    Checked data has its defaults, so that clients can rely on every field. Data that is not checked
    may lack the fields that have a default.
    """
    inputs = [(each.topic, _mode(each), each.adapter) for each in contracts]
    by_key, whole = TypeAdapter.json_schemas(
        inputs, ref_template=ref_template, schema_generator=_DataSchemas
    )
    schemas = {str(topic): schema for (topic, _), schema in by_key.items()}
    return {str(topic): schemas[str(topic)] for topic, _, _ in inputs}, whole.get("$defs", {})


def json_schema(contracts: Iterable[Contract]) -> Schema:
    """Return one JSON schema, of an object whose keys are topics and whose values are data."""
    listed = list(contracts)
    schemas, definitions = data_schemas(listed)
    exact = {each.topic: schemas[each.topic] for each in listed if each.pattern.exact}
    prefixes = {
        f"^{re.escape(each.pattern.prefix)}": schemas[each.topic]
        for each in listed
        if not each.pattern.exact
    }
    return {
        "$schema": DIALECT,
        "title": "RelayEvents",
        "type": "object",
        "properties": exact,
        "patternProperties": prefixes,
        "$defs": definitions,
    }


def typescript(contracts: Iterable[Contract]) -> str:
    """Return a TypeScript module: a type for each model, and `RelayEvents`, from topic to data.

    `RelayEventData<T>` is the data of any topic `T`, by prefixes too; `unknown` without a model.
    """
    listed = list(contracts)
    schemas, definitions = data_schemas(listed)
    writer = _TypeScript(definitions)
    rows = [
        f"{_comment(each.description, '  ')}  {json.dumps(each.topic)}: "
        f"{writer.type(schemas[each.topic])};\n"
        for each in listed
        if each.pattern.exact
    ]
    return (
        _HEAD
        + "".join(f"\n{writer.declaration(name)}" for name in definitions)
        + "\n/** The data of the events on each topic. */\n"
        + f"export interface RelayEvents {{\n{''.join(rows)}}}\n"
        + "\n/** The data of the events on the topic `T`. */\n"
        + _event_data(listed, writer, schemas)
    )


def _mode(contract: Contract) -> JsonSchemaMode:
    return "serialization" if contract.is_checked else "validation"


def _event_data(
    contracts: list[Contract], writer: "_TypeScript", schemas: dict[str, Schema]
) -> str:
    prefixes = sorted(
        (each for each in contracts if not each.pattern.exact),
        key=lambda each: len(each.pattern.prefix),
        reverse=True,
    )
    lines = [
        f"  : T extends `{_in_template(each.pattern.prefix)}${{string}}` ? "
        f"{writer.type(schemas[each.topic])}\n"
        for each in prefixes
    ]
    return (
        "export type RelayEventData<T extends string> =\n"
        "  T extends keyof RelayEvents ? RelayEvents[T]\n"
        f"{''.join(lines)}  : unknown;\n"
    )


class _TypeScript:
    """Turns JSON schemas, as pydantic makes them, into types."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions
        self._names: dict[str, str] = {}
        for name in definitions:
            wanted = re.sub(r"[^A-Za-z0-9_$]+", "_", name).strip("_") or "Model"
            wanted = f"_{wanted}" if wanted[0].isdigit() else wanted
            while wanted in _TAKEN or wanted in self._names.values():
                wanted += "_"
            self._names[name] = wanted

    def declaration(self, name: str) -> str:
        """Return the declaration of the definition `name`."""
        schema = self._definitions[name]
        comment = _comment(schema.get("description", ""), "")
        shown = self._names[name]
        if schema.get("type") == "object" and "properties" in schema:
            return f"{comment}export interface {shown} {self.type(schema)}\n"
        return f"{comment}export type {shown} = {self.type(schema)};\n"

    def type(self, schema: Schema | bool, indent: str = "") -> str:
        """Return the type of the values that `schema` allows; of one not understood, `unknown`."""
        if isinstance(schema, bool):
            return "unknown" if schema else "never"
        if "$ref" in schema:
            return self._names[schema["$ref"].rpartition("/")[2]]
        if "const" in schema:
            return json.dumps(schema["const"])
        if "enum" in schema:
            return _union(json.dumps(each) for each in schema["enum"])
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return _union(self.type(each, indent) for each in schema[several])
        if "allOf" in schema:
            return " & ".join(f"({self.type(each, indent)})" for each in schema["allOf"])
        kind = schema.get("type")
        if isinstance(kind, list):
            return _union(self.type({**schema, "type": each}, indent) for each in kind)
        if kind == "array":
            return self._array(schema, indent)
        if kind == "object":
            return self._object(schema, indent)
        return _TYPES.get(str(kind), "unknown")

    def _array(self, schema: Schema, indent: str) -> str:
        if "prefixItems" in schema:
            items = ", ".join(self.type(each, indent) for each in schema["prefixItems"])
            return f"[{items}]"
        return f"Array<{self.type(schema.get('items', True), indent)}>"

    def _object(self, schema: Schema, indent: str) -> str:
        further = schema.get("additionalProperties", "properties" not in schema)
        if "properties" not in schema:
            # Not `Record<…>`, which a type may not use to refer to itself.
            return f"{{ [key: string]: {self.type(further, indent)} }}"
        inner = f"{indent}  "
        required = schema.get("required", ())
        rows = [
            _comment(each.get("description", "") if isinstance(each, dict) else "", inner)
            + f"{inner}{_key(name)}{'' if name in required else '?'}: {self.type(each, inner)};\n"
            for name, each in schema["properties"].items()
        ]
        if further:
            # An index signature must allow the types of all properties.
            rows.append(f"{inner}[field: string]: unknown;\n")
        return f"{{\n{''.join(rows)}{indent}}}"


def _union(types: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(types))
    return "unknown" if "unknown" in distinct else " | ".join(distinct)


def _key(name: str) -> str:
    return name if _IDENTIFIER.match(name) else json.dumps(name)


def _in_template(text: str) -> str:
    return text.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")


def _comment(text: str, indent: str) -> str:
    if not text:
        return ""
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return f"{indent}/**\n" + "".join(f"{indent} * {each}\n" for each in lines) + f"{indent} */\n"
