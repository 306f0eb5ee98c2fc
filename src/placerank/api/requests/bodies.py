"""What clients send: the bodies, how they are read, and their place in the OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from placerank.errors import BodyTooLarge, MalformedBody

if TYPE_CHECKING:
    from pydantic import ValidationInfo

T = TypeVar("T")

INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
#: So much of an oversized body is read and thrown away, so that the client gets to read the reply.
_DRAINED_BYTES = 16 * 2**20

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _only_iso_date(value: Any) -> Any:
    if not (isinstance(value, str) and _DATE.fullmatch(value)):
        raise ValueError("must be a date written YYYY-MM-DD")
    return value


#: PostgreSQL cannot store U+0000 in text.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Age = Annotated[int, Field(ge=0, le=120)]
Int4 = Annotated[int, Field(ge=0, le=INT4_MAX)]
Count = Annotated[int, Field(ge=1, le=INT4_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
IsoDate = Annotated[date, BeforeValidator(_only_iso_date), Field(json_schema_extra={"format": "date"})]


class TravellerBody(BaseModel):
    """A trip, as its traveller describes it."""

    model_config = ConfigDict(
        extra="ignore",
        title="Traveller",
        json_schema_extra={
            "examples": [
                {
                    "name": "Family",
                    "people_num": 3,
                    "people_age": [41, 38, 7],
                    "children_num": 1,
                    "budget": 350.0,
                    "nights": 5,
                    "time_arrival": "2027-07-03",
                    "pool": True,
                    "spa": False,
                    "pet_friendly": False,
                    "lake": True,
                    "mountain": False,
                    "sport": True,
                }
            ]
        },
    )

    name: Text
    people_num: Count
    people_age: list[Age] = Field(min_length=1, description="As many ages as there are people.")
    children_num: Int4
    budget: Amount
    nights: Count
    time_arrival: IsoDate
    pool: bool
    spa: bool
    pet_friendly: bool
    lake: bool
    mountain: bool
    sport: bool
    user_id: Annotated[Text | None, Field(max_length=128, description="Who the traveller is; else a digest.")] = None

    @field_validator("people_age")
    @classmethod
    def _one_age_each(cls, ages: list[int], info: ValidationInfo) -> list[int]:
        people = info.data.get("people_num")
        if people is not None and len(ages) != people:
            raise ValueError(f"must have as many ages as people_num says: {people}, not {len(ages)}")
        return ages

    def canonical(self) -> bytes:
        """The 13 values as JSON in their own order: equal travellers have equal bytes."""
        return self.model_dump_json(exclude={"user_id"}).encode()


class SelectionBody(BaseModel):
    """A traveller's choice."""

    model_config = ConfigDict(extra="ignore", title="Selection")

    task_id: UUID
    location_id: int = Field(ge=-1, le=INT4_MAX, description="A place that was shown, or -1: chose none.")


class PlaceBody(BaseModel):
    """A place of the catalogue."""

    model_config = ConfigDict(extra="ignore", title="Place")

    location_id: Int4
    children: bool
    breakfast: bool
    lunch: bool
    dinner: bool
    price: Amount
    has_pool: bool
    has_spa: bool
    animals: bool
    near_lake: bool
    near_mountains: bool
    has_sport: bool
    family_rating: Number
    outdoor_rating: Number
    food_rating: Number
    leisure_rating: Number
    service_rating: Number
    user_score: Number


class TrainingBody(BaseModel):
    """Settings of a training; all may be left out."""

    model_config = ConfigDict(extra="forbid", title="Training")

    seed: Int4 = 0
    max_lists: Annotated[int, Field(ge=2, le=INT4_MAX)] | None = None


class ShareBody(BaseModel):
    """A version's share of the traffic."""

    model_config = ConfigDict(extra="forbid", title="Share")

    share: int = Field(ge=0, le=100, description="Per cent of the travellers.")


traveller = TypeAdapter(TravellerBody)
selection = TypeAdapter(SelectionBody)
#: Ends at the first wrong place: 32 MB of nothing but wrong ones would make a gigabyte of errors. Only a bulk that is
#: not large is looked through again for all of them, and a reply tells so many at most.
_DETAILED_BYTES = 2**20
MOST_ERRORS = 100
_NO_LIST = [{"loc": (), "msg": "must be a list of places", "type": "list_type"}]
places: TypeAdapter[list[PlaceBody]] = TypeAdapter(Annotated[list[PlaceBody], FailFast()])
training = TypeAdapter(TrainingBody)
share = TypeAdapter(ShareBody)


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; raises ``BodyTooLarge`` above ``most`` bytes, ``MalformedBody`` for half a body."""
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
        raise MalformedBody("The body ended before it was whole.") from None
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
    """The places of a bulk; raises as ``parse`` does, of a large bulk with the first wrong place only."""
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
