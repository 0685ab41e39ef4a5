"""`read_sign_in`: user name and password from the body of `POST /auth/token`, a form or JSON.

Strangers send it: its bytes, its fields and its depth are bounded, under any server.
"""

from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import orjson
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, SecretStr, ValidationError
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from edge.websocket.request_bounds import MAX_BODY_BYTES

JSON_TYPE = "application/json"
URLENCODED_TYPE = "application/x-www-form-urlencoded"
FORM_TYPES = (URLENCODED_TYPE, "multipart/form-data")
MAX_FIELDS = 32
"""Fields of a form; with more the answer is 400. Files are not taken."""


class SignIn(BaseModel):
    """The fields of the body; others do not matter."""

    username: Annotated[str, Field(min_length=1)]
    password: Annotated[SecretStr, Field(min_length=1)]
    remember_me: bool = False
    """Whether the token is to be valid for `EDGE_REMEMBERED_TTL_S`."""
    grant_type: Literal["password"] | None = None
    """As OAuth2 names it (RFC 6749, section 4.3.2)."""


REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        each: {"schema": SignIn.model_json_schema(ref_template="{model}")}
        for each in (*FORM_TYPES, JSON_TYPE)
    },
}
"""Of the OpenAPI operation, which cannot see it in the route's parameters."""


async def read_sign_in(request: Request) -> SignIn:
    """Return the fields in the body; a FastAPI dependency.

    Answers 422 for fields that are missing or wrong, and 400 for a body that cannot be read.
    """
    fields = await _fields(request)
    try:
        return SignIn.model_validate(fields)
    except ValidationError as error:
        # Without the input: a password must not come back, or end up in a log.
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        located = [{**problem, "loc": ("body", *problem["loc"])} for problem in problems]
        raise RequestValidationError(located) from None


async def _fields(request: Request) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    request = Request(request.scope, _bounded(request.receive))
    try:
        # A body of no named type is no JSON: pages elsewhere could send such ones unasked.
        if content_type == JSON_TYPE:
            return orjson.loads(await request.body())
        if content_type == URLENCODED_TYPE:
            return dict(_form(await request.body()))
        return dict(await request.form(max_files=0, max_fields=MAX_FIELDS))
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is not JSON") from None
    except (MultiPartException, UnicodeDecodeError) as error:
        raise HTTPException(400, f"The form cannot be read: {error}") from None
    except ClientDisconnect:
        # Nobody reads it.
        raise HTTPException(400, "The body did not arrive") from None


def _form(body: bytes) -> list[tuple[str, str]]:
    text = body.decode("latin-1")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, f"The form has more than {MAX_FIELDS} fields") from None


def _bounded(receive: Receive) -> Receive:
    """Return a `receive` that refuses a large body, on servers that have no bound of their own."""
    size = 0

    async def receive_little() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body has more than {MAX_BODY_BYTES} bytes")
        return message

    return receive_little
