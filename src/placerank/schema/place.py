"""A place of the catalogue: its fields and their checks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from placerank.schema.types import Amount, Int4, Number


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
