"""`ChosenArguments`: the arguments of a function that become the data of its events.

An event reaches everybody who may see its topic, and stays in the journal. So two kinds of
arguments are left out unless the author of the function asks for them by name: those whose names
look like secrets, and objects without a JSON form, whose text may tell anything.
"""

import dataclasses
import inspect
from collections.abc import Collection, Mapping, Sequence, Set, ValuesView
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from emitters.core.readable import STOPS

SECRET_WORDS = frozenset(
    {
        "authorization",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "pwd",
        "secret",
        "secrets",
        "token",
        "tokens",
    }
)
SECRET_PAIRS = frozenset(
    {("access", "key"), ("api", "key"), ("private", "key"), ("signing", "key"), ("api", "keys")}
)
"""Two words in a row."""

_CARRIED = (bool, int, float, str, bytes, bytearray, Mapping, Sequence, Set, ValuesView, BaseModel)


def is_secret(name: str) -> bool:
    """Return whether a name in snake case has a word of a secret: `new_password`, `api_key`."""
    words = name.lower().split("_")
    return not (SECRET_WORDS.isdisjoint(words) and SECRET_PAIRS.isdisjoint(pairwise(words)))


def has_json_form(value: object) -> bool:
    """Return whether `value` is of a type in the table of `emitters.core.json_values`.

    The items of a container do not count. An iterator has no form, because reading it would take
    its items from the function.
    """
    try:
        if value is None or isinstance(value, _CARRIED) or dataclasses.is_dataclass(type(value)):
            return True
        if hasattr(type(value), "__next__"):
            return False
        if type(value).__module__ == "numpy":
            return hasattr(value, "tolist")
        to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's value may raise anything when read
        return False
    return True


class ChosenArguments:
    """Chooses among the arguments of one function."""

    def __init__(
        self, signature: inspect.Signature, exclude: Collection[str], include: Collection[str]
    ) -> None:
        """`exclude` names arguments that are left out, `include` some that would be otherwise.

        Raises `TypeError` for a name that the function does not have, or that is in both.
        """
        self._exclude = _names("exclude", exclude, signature)
        self._include = _names("include", include, signature)
        if both := self._exclude & self._include:
            raise TypeError(f"@emits: {sorted(both)[0]!r} is in exclude and in include")
        self._parameters = signature.parameters

    def __call__(self, arguments: Mapping[str, Any], owner: str | None) -> dict[str, Any]:
        """Return the chosen ones of the bound `arguments`; never `owner`, the object of a method.

        Keyword arguments that the function takes under any name are chosen one by one.
        """
        chosen: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            if name == owner:
                continue
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                self._choose(chosen, name, arguments[name])
            elif name not in self._exclude:
                for keyword, value in arguments[name].items():
                    self._choose(chosen, keyword, value)
        return chosen

    def _choose(self, chosen: dict[str, Any], name: str, value: Any) -> None:
        if name in self._exclude:
            return
        if name in self._include or not (is_secret(name) or not has_json_form(value)):
            chosen[name] = value


def _names(option: str, names: Collection[str], signature: inspect.Signature) -> frozenset[str]:
    if isinstance(names, str):
        raise TypeError(f'@emits: {option} takes a list of names, such as ["{names}"]')
    found = frozenset(names)
    parameters = signature.parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return found
    for name in sorted(found - parameters.keys()):
        raise TypeError(f"@emits: {option} names {name!r}, which is no parameter")
    return found
