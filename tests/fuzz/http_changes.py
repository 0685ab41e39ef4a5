"""Requests of HTTP/1.1, valid at first, and changed in their parts or in their bytes."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from tests.fuzz.changes import changed_bytes

Header = tuple[bytes, bytes]

ODD = (
    b"\0",
    b"\t",
    b" ",
    b"\r",
    b"\n",
    b"\x7f",
    b"\x80",
    b"\xff",
    b",",
    b";",
    b'"',
    b":",
    b"%",
    b"=",
)
LENGTHS = (
    b"0",
    b"00",
    b"1",
    b"-1",
    b"+5",
    b"5, 5",
    b"5,6",
    b"0x10",
    b"1e3",
    b"9" * 30,
    b"",
    b"65537",
)
VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.1 ",
    b"HTTP/9.9",
    b"http/1.1",
    b"",
    b"RTSP/1.0",
)
METHODS = (
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"PRI",
    b"get",
    b"G\0T",
)
LARGE = (300, 5_000, 33_000)
MAX_STEPS = 3


class HttpRequest(NamedTuple):
    """The parts of a request."""

    method: bytes
    target: bytes
    headers: tuple[Header, ...]
    body: bytes = b""
    version: bytes = b"HTTP/1.1"

    def pack(self, end: bytes = b"\r\n", colon: bytes = b": ") -> bytes:
        """Return its bytes."""
        lines = [b" ".join((self.method, self.target, self.version))]
        lines += [name + colon + value for name, value in self.headers]
        return end.join(lines) + end + end + self.body


def changed_request(chance: Random, request: HttpRequest, others: Sequence[HttpRequest]) -> bytes:
    """Return a request with a few changes; `others` are requests to take headers of."""
    for _ in range(chance.randint(0, MAX_STEPS)):
        request = chance.choice(_CHANGES)(chance, request, others)
    end = chance.choice((b"\r\n",) * 12 + (b"\n", b"\r", b"\r\n\r\n"))
    colon = chance.choice((b": ",) * 12 + (b":", b" : ", b":\t"))
    data = request.pack(end, colon)
    if chance.random() < 0.15:
        data = changed_bytes(chance, data, [data])
    if chance.random() < 0.1:
        # Another request behind it on the same connection.
        data += chance.choice(others).pack()
    return data


def pieces(chance: Random, data: bytes) -> list[bytes]:
    """Return `data` in up to four pieces, which are sent one after another."""
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((0, 0, 1, 3))))
    found = [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [each for each in found if each]


def _value(chance: Random, request: HttpRequest, others: Sequence[HttpRequest]) -> HttpRequest:
    def change(header: Header) -> Header:
        pool = [value for each in others for _, value in each.headers]
        return header[0], changed_bytes(chance, header[1], pool)

    return _with_header(chance, request, lambda header: (change(header),))


def _name(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    def change(header: Header) -> Header:
        name = header[0]
        at = chance.randint(0, len(name))
        return chance.choice((name.upper(), name[:at] + chance.choice(ODD) + name[at:])), header[1]

    return _with_header(chance, request, lambda header: (change(header),))


def _drop(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    return _with_header(chance, request, lambda _: ())


def _repeat(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    times = chance.choice((2, 2, 3, 200))
    return _with_header(chance, request, lambda header: (header,) * times)


def _fold(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    def change(header: Header) -> Header:
        at = chance.randint(0, len(header[1]))
        fold = chance.choice((b"\r\n ", b"\r\n\t", b"\n ", b"\r "))
        return header[0], header[1][:at] + fold + header[1][at:]

    return _with_header(chance, request, lambda header: (change(header),))


def _odd(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    def change(header: Header) -> Header:
        at = chance.randint(0, len(header[1]))
        return header[0], header[1][:at] + chance.choice(ODD) + header[1][at:]

    return _with_header(chance, request, lambda header: (change(header),))


def _large(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    size = chance.choice(LARGE)
    return _with_header(chance, request, lambda header: ((header[0], header[1] + b"a" * size),))


def _borrow(chance: Random, request: HttpRequest, others: Sequence[HttpRequest]) -> HttpRequest:
    header = chance.choice(chance.choice(others).headers)
    at = chance.randint(0, len(request.headers))
    return request._replace(headers=(*request.headers[:at], header, *request.headers[at:]))


def _body(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    """Say something wrong about the body, or send another one."""
    body = request.body or b"hello"
    match chance.randrange(4):
        case 0:
            headers = (*request.headers, (b"Content-Length", chance.choice(LENGTHS)))
        case 1:
            headers = (*request.headers, (b"Transfer-Encoding", chance.choice((b"chunked", b"x"))))
            size = chance.choice((b"%x" % len(body), b"ffffffffff", b"-1", b"5;x=y"))
            body = (
                size
                + b"\r\n"
                + body
                + chance.choice((b"\r\n0\r\n\r\n", b"", b"\r\n0\r\nA: b\r\n\r\n"))
            )
        case 2:
            body = changed_bytes(chance, body, [body])
            headers = _with_length(request.headers, body)
        case _:
            body *= chance.choice((2, 100))
            headers = _with_length(request.headers, body)
    return request._replace(headers=headers, body=body)


def _target(chance: Random, request: HttpRequest, others: Sequence[HttpRequest]) -> HttpRequest:
    target = request.target
    match chance.randrange(4):
        case 0:
            target = changed_bytes(chance, target, [each.target for each in others])
        case 1:
            at = chance.randint(0, len(target))
            target = target[:at] + b"%" + b"%02x" % chance.randrange(256) + target[at:]
        case 2:
            target = chance.choice((b"http://edge", b"*", b"//", b"edge:443", b"/../")) + target
        case _:
            query = chance.choice([each.target for each in others]).partition(b"?")[2]
            target += (b"&" if b"?" in target else b"?") + query
    return request._replace(target=target)


def _line(chance: Random, request: HttpRequest, _others: Sequence[HttpRequest]) -> HttpRequest:
    if chance.random() < 0.5:
        return request._replace(version=chance.choice(VERSIONS))
    return request._replace(method=chance.choice(METHODS))


_CHANGES: tuple[Callable[[Random, HttpRequest, Sequence[HttpRequest]], HttpRequest], ...] = (
    _value,
    _value,
    _name,
    _drop,
    _repeat,
    _fold,
    _odd,
    _large,
    _borrow,
    _body,
    _target,
    _target,
    _line,
)


def _with_header(
    chance: Random, request: HttpRequest, change: Callable[[Header], Sequence[Header]]
) -> HttpRequest:
    """Return the request with one header replaced by others."""
    if not request.headers:
        return request
    at = chance.randrange(len(request.headers))
    headers = (*request.headers[:at], *change(request.headers[at]), *request.headers[at + 1 :])
    return request._replace(headers=headers)


def _with_length(headers: tuple[Header, ...], body: bytes) -> tuple[Header, ...]:
    kept = tuple(each for each in headers if each[0] != b"Content-Length")
    return (*kept, (b"Content-Length", b"%d" % len(body)))
