"""Arguments that become the data of events: no secrets, and nothing without a JSON form."""

import dataclasses
import datetime
import enum
import inspect
import ipaddress
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from emitters.core.event_arguments import ChosenArguments, has_json_form, is_secret
from emitters.core.json_values import json_value


class Model(BaseModel):
    n: int = 1


@dataclasses.dataclass
class Record:
    n: int = 1


class Color(enum.Enum):
    RED = "red"


class Context:
    password = "hunter2"


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("not even this")


def chosen(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    signature = inspect.signature(function)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return ChosenArguments(signature, (), ())(bound.arguments, "self")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "PASSWORD",
        "token",
        "access_token",
        "token_hash",
        "client_secret",
        "api_key",
        "my_api_key_id",
        "private_key",
        "db_credentials",
        "session_cookie",
        "_password",
    ],
)
def test_secrets_are_known_by_a_word_of_their_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["server_name", "tokenizer", "secretary", "passwordless", "key", "monkey_api", "", "_"]
)
def test_a_part_of_a_word_is_no_secret(name: str) -> None:
    assert not is_secret(name)


@given(st.sampled_from(["password", "token", "secret"]), st.lists(st.from_regex(r"[a-z]+\Z")))
def test_a_secret_word_is_found_at_any_place(word: str, others: list[str]) -> None:
    for place in range(len(others) + 1):
        assert is_secret("_".join([*others[:place], word, *others[place:]]))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        "text",
        b"bytes",
        [object()],
        (1,),
        {1},
        {"a": object()}.values(),
        {"a": 1},
        Model(),
        Record(),
        Color.RED,
        Path("/tmp"),
        Decimal("1.5"),
        uuid.UUID(int=1),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.timedelta(1),
        ipaddress.ip_address("::1"),
    ],
)
def test_values_of_common_types_have_a_form(value: object) -> None:
    assert has_json_form(value)


@pytest.mark.parametrize(
    "value", [object(), Context(), print, lambda: 1, iter([1]), Context, ValueError("x")]
)
def test_other_objects_have_none(value: object) -> None:
    assert not has_json_form(value)


def test_an_object_that_raises_when_it_is_read_has_none() -> None:
    assert not has_json_form(Hostile())


def test_an_iterator_keeps_its_items() -> None:
    items = (number for number in range(3))
    assert not has_json_form(items)
    assert list(items) == [0, 1, 2]


@pytest.mark.parametrize("value", [Model(), Color.RED, Path("/tmp"), b"x", {"a": [1]}])
def test_a_value_with_a_form_can_be_emitted(value: object) -> None:
    """The two tables are one."""
    assert has_json_form(value)
    json_value(value)


def test_secrets_and_contexts_are_left_out_of_any_kind_of_parameter() -> None:
    def function(
        self: object, name: str, /, *rest: int, token: str, app: object, **more: Any
    ) -> None: ...

    assert chosen(
        function, "owner", "n", 1, 2, token="t", app=Context(), keep=3, api_key="k", db=Context()
    ) == {"name": "n", "rest": (1, 2), "keep": 3}


def test_names_choose_and_leave_out() -> None:
    def function(a: int, password: str, app: object) -> None: ...

    signature = inspect.signature(function)
    app = Context()
    arguments = {"a": 1, "password": "p", "app": app}
    assert ChosenArguments(signature, ["a"], ["password", "app"])(arguments, None) == {
        "password": "p",
        "app": app,
    }
    assert ChosenArguments(signature, {"app"}, ())(arguments, None) == {"a": 1}


def test_keyword_arguments_of_any_name_are_chosen_by_theirs() -> None:
    def function(**options: Any) -> None: ...

    signature = inspect.signature(function)
    arguments = {"options": {"a": 1, "b": 2, "token": "t"}}
    assert ChosenArguments(signature, ["a"], ["token"])(arguments, None) == {"b": 2, "token": "t"}
    assert ChosenArguments(signature, ["options"], ())(arguments, None) == {}


@pytest.mark.parametrize(
    ("exclude", "include", "text"),
    [
        ("a", (), 'exclude takes a list of names, such as \\["a"\\]'),
        ((), "a", 'include takes a list of names, such as \\["a"\\]'),
        (["b"], (), "exclude names 'b', which is no parameter"),
        ((), ["b"], "include names 'b', which is no parameter"),
        (["a"], ["a"], "'a' is in exclude and in include"),
    ],
)
def test_wrong_names_are_refused(exclude: Any, include: Any, text: str) -> None:
    def function(a: int) -> None: ...

    with pytest.raises(TypeError, match=f"@emits: {text}"):
        ChosenArguments(inspect.signature(function), exclude, include)
