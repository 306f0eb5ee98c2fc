"""A traveller's request: its fields, their checks, and an example."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from placerank.schema.types import Age, Amount, Count, Int4, IsoDate, Text

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_ONE_OR_NONE: Final = {"true": 1, "t": 1, "wahr": 1, "false": 0, "f": 0, "falsch": 0}

#: The traveller of the documentation, the front page and the command line.
EXAMPLE: Final[dict[str, Any]] = {
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


def example_lines(width: int = 110) -> str:
    """The example as JSON in lines of about ``width`` characters, for a shell."""
    fields = [json.dumps({name: value})[1:-1] for name, value in EXAMPLE.items()]
    lines = wrap(", ".join(field.replace(" ", "\0") for field in fields), width, break_long_words=False)
    return "{\n  " + "\n  ".join(lines).replace("\0", " ") + "}"


class TravellerBody(BaseModel):
    """A trip, as its traveller describes it."""

    model_config = ConfigDict(extra="ignore", title="Traveller", json_schema_extra={"examples": [EXAMPLE]})

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


def parse_children(text: str) -> int:
    """The number of children in a cell, where true and false stand for 1 and 0 as in JSON; raises ValueError."""
    word = text.strip().lower()
    if word in _ONE_OR_NONE:
        return _ONE_OR_NONE[word]
    # pandas writes whole numbers as 3.0 where another row has none.
    return int(word.removesuffix(".0"))
