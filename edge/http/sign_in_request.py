"""`read_sign_in`: user name and password from the body of `POST /auth/token`, a form or JSON."""

import json
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, SecretStr, ValidationError
from starlette.requests import ClientDisconnect

JSON_TYPE = "application/json"
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


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
    try:
        # A body of no named type is no JSON: pages elsewhere could send such ones unasked.
        return await request.json() if content_type == JSON_TYPE else dict(await request.form())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise HTTPException(400, "The body is not JSON") from None
    except ClientDisconnect:
        # Nobody reads it.
        raise HTTPException(400, "The body did not arrive") from None
