"""The JSON of one message of a client, and how deeply it is nested."""

import re
from typing import Any

import orjson

MAX_DEPTH = 1024
"""Of orjson: a text that is nested more deeply counts as no JSON."""
_NO_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+')
"""Whole texts, in which brackets nest nothing, and all that is no bracket."""
_TO_SQUARE = str.maketrans("{}", "[]")


class NestedTooDeep(Exception):  # noqa: N818
    """The JSON is nested more deeply than is allowed. `message` is its value."""

    def __init__(self, message: Any) -> None:
        super().__init__("the JSON is nested too deeply")
        self.message = message


def parse_json(text: str, max_depth: int) -> Any:
    """Return the value of `text`. Raises `ValueError` if it is no JSON, and `NestedTooDeep`."""
    message = orjson.loads(text)
    if is_deeper(text, max_depth):
        raise NestedTooDeep(message)
    return message


def is_deeper(text: str, max_depth: int) -> bool:
    """Return whether the arrays and objects in `text`, which is JSON, nest more than `max_depth`.

    The time grows with the length of `text`, and a little with `max_depth`.
    """
    if text.count("[") + text.count("{") <= max_depth:
        return False
    brackets = _NO_BRACKETS.sub("", text).translate(_TO_SQUARE)
    for _ in range(max_depth):
        # Those that have nothing in them: one level for each turn.
        brackets = brackets.replace("[]", "")
        if not brackets:
            break
    return bool(brackets)
