"""`arguments_of`: the params of a request as the arguments of the function that answers it."""

import inspect
from collections.abc import Callable
from typing import Any


def arguments_of(
    function: Callable[..., Any], first: object, params: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments for `function`: `first`, and `params`.

    A map becomes keyword arguments, a list positional ones, None nothing, and any other value one
    argument. Raises `TypeError`, whose text says what is missing or too much.
    """
    args: tuple[Any, ...] = (first,)
    kwargs: dict[str, Any] = {}
    if isinstance(params, dict):
        kwargs = params
    elif isinstance(params, list):
        args = (first, *params)
    elif params is not None:
        args = (first, params)
    inspect.signature(function).bind(*args, **kwargs)
    return args, kwargs
