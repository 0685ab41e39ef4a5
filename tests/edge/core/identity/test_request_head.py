"""The head of a request reads alike whether httptools or an ASGI server has collected it."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.request_head import RequestHead


def read(*lines: str, url: str = "/ws") -> RequestHead:
    head = RequestHead()
    parser = httptools.HttpRequestParser(head)
    parser.feed_data("\r\n".join([f"GET {url} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
    return head


def test_names_are_in_lower_case_and_repeated_values_are_joined() -> None:
    head = read("hOST: edge", "X: 1", "x:  2 ", "Cookie: a=1", "COOKIE: b=2")
    assert head.headers == {"host": "edge", "x": "1, 2", "cookie": "a=1; b=2"}


def test_both_servers_give_the_same_head() -> None:
    raw = [(b"Host", b"edge"), (b"x", b"1"), (b"X", b"2"), (b"cookie", b"a=1"), (b"cookie", b"b")]
    of_asgi = RequestHead.of(raw, b"token=a&token=&b")
    of_httptools = read(
        *(f"{name.decode()}: {value.decode()}" for name, value in raw), url="/ws?token=a&token=&b"
    )
    assert of_asgi.headers == of_httptools.headers
    assert of_asgi.query == of_httptools.query == [("token", "a"), ("token", ""), ("b", "")]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("", []),
        ("name=1", ["1"]),
        ('other=0; name="1" ;name = 2; Name=3; name', ["1", "2", ""]),
        ('a="x;name=1"', ["1"]),
        (";;=;name==", ["="]),
    ],
)
def test_all_cookies_of_a_name_are_found(header: str, values: list[str]) -> None:
    head = RequestHead.of([(b"cookie", header.encode())], b"")
    assert list(head.cookies("name")) == values


def test_lists_are_split_and_empty_entries_left_out() -> None:
    head = RequestHead.of([(b"x", b"a , ,b"), (b"x", b""), (b"x", b"c")], b"")
    assert list(head.values("x")) == ["a", "b", "c"]
    assert list(head.values("y")) == []


@given(st.lists(st.tuples(st.binary(max_size=10), st.binary(max_size=30))), st.binary(max_size=60))
def test_any_bytes_are_a_head(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    head = RequestHead.of([*headers, (b"cookie", query)], query)
    assert all(isinstance(value, str) for value in head.cookies("a"))
    assert all(len(pair) == 2 for pair in head.query)
