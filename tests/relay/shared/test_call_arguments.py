"""`arguments_of`: each form of params, and what does not fit."""

from typing import Any

import pytest

from relay.shared.call_arguments import arguments_of


def greet(call: object, name: str, *, loud: bool = False) -> None:
    """Something to call."""


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"name": "a", "loud": True}, (("call",), {"name": "a", "loud": True})),
        (["a"], (("call", "a"), {})),
        ("a", (("call", "a"), {})),
        (5, (("call", 5), {})),
    ],
)
def test_params_become_arguments(params: Any, expected: object) -> None:
    assert arguments_of(greet, "call", params) == expected


def test_nothing_is_no_argument() -> None:
    assert arguments_of(lambda call: None, "call", None) == (("call",), {})


@pytest.mark.parametrize(
    "params", [None, {}, [], ["a", "b"], {"name": "a", "other": 1}, {"call": 1, "name": "a"}]
)
def test_params_that_do_not_fit_are_refused(params: Any) -> None:
    with pytest.raises(TypeError):
        arguments_of(greet, "call", params)
