"""Request bodies: their models, how they are read, and their OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from placerank.errors import BodyTooLarge, MalformedBody
from placerank.schema.place import PlaceBody
from placerank.schema.traveller import TravellerBody
from placerank.schema.types import INT4_MAX, Int4

T = TypeVar("T")

#: An oversized body is read and discarded up to this size, so that the client can read the reply.
_DRAINED_BYTES = 16 * 2**20


class SelectionBody(BaseModel):
    """A traveller's choice."""

    model_config = ConfigDict(extra="ignore", title="Selection")

    task_id: UUID
    location_id: int = Field(ge=-1, le=INT4_MAX, description="A place that was shown, or -1 for none of them.")


class TrainingBody(BaseModel):
    """Settings of a training; all are optional."""

    model_config = ConfigDict(extra="forbid", title="Training")

    seed: Int4 = 0
    max_lists: Annotated[int, Field(ge=2, le=INT4_MAX)] | None = None


class ShareBody(BaseModel):
    """A version's share of the traffic."""

    model_config = ConfigDict(extra="forbid", title="Share")

    share: int = Field(ge=0, le=100, description="Per cent of the travellers.")


traveller = TypeAdapter(TravellerBody)
selection = TypeAdapter(SelectionBody)
#: ``places`` stops at the first invalid place: 32 MB of invalid places would make a gigabyte of errors. Only a bulk of
#: at most ``_DETAILED_BYTES`` is validated again for all its errors. A reply lists at most ``MOST_ERRORS``.
_DETAILED_BYTES = 2**20
MOST_ERRORS = 100
_NO_LIST = [{"loc": (), "msg": "must be a list of places", "type": "list_type"}]
places: TypeAdapter[list[PlaceBody]] = TypeAdapter(Annotated[list[PlaceBody], FailFast()])
training = TypeAdapter(TrainingBody)
share = TypeAdapter(ShareBody)


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; raises ``BodyTooLarge`` above ``most`` bytes, ``MalformedBody`` for an incomplete body."""
    length = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                chunks.append(chunk)
            elif size > _DRAINED_BYTES:
                break
    except ClientDisconnect:
        raise MalformedBody("The connection ended before the body was complete.") from None
    if size > most or (length.isdecimal() and int(length) > most):
        raise BodyTooLarge(f"The body is larger than the {most} bytes that this route takes.")
    return b"".join(chunks)


def parse(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as its type; raises ``MalformedBody``, or ``RequestValidationError`` with every wrong field."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        if details[0]["type"] == "json_invalid":
            raise MalformedBody(details[0]["msg"] + ".") from None
        raise RequestValidationError(details) from None


def parse_places(body: bytes) -> list[PlaceBody]:
    """The places of a bulk; raises as ``parse`` does, but for a large bulk names only the first invalid place."""
    try:
        return parse(places, body)
    except RequestValidationError:
        if len(body) > _DETAILED_BYTES:
            raise
        raise RequestValidationError(list(islice(_wrong(from_json(body)), MOST_ERRORS)) or _NO_LIST) from None


def _wrong(entries: Any) -> Iterator[dict[str, Any]]:
    for position, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            PlaceBody.model_validate(entry)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False, include_context=False):
                yield {**detail, "loc": (position, *detail["loc"])}


def documented(adapter: TypeAdapter[Any], *, required: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads this body."""
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    if schema.get("type") == "array" and definitions:
        schema["items"] = next(iter(definitions.values()))
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
