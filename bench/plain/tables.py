"""The plain service's tables."""

from __future__ import annotations

import os
from datetime import date
from functools import cache
from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from placerank.domain import TRAVELLER_FIELDS, Place, Traveller

PLACES = 210


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    traveller: Mapped[dict[str, object]] = mapped_column(JSON)


class Inference(Base):
    __tablename__ = "inferences"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    choice: Mapped[int | None]


class Result(Base):
    __tablename__ = "results"

    id: Mapped[int] = mapped_column(primary_key=True)
    inference_id: Mapped[str] = mapped_column(index=True)
    location_id: Mapped[int]
    position: Mapped[int]
    score: Mapped[float]


@cache
def engine() -> Engine:
    """The connection pool of this process."""
    return create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))


def places() -> list[Place]:
    """The demo catalogue."""
    from placerank.demo import synthetic

    return synthetic.places(PLACES, seed=1)


def traveller_of(body: dict[str, Any]) -> Traveller:
    """The traveller of a request body."""
    values = {name: body[name] for name in TRAVELLER_FIELDS}
    arrival = date.fromisoformat(body["time_arrival"])
    return Traveller(**{**values, "people_age": tuple(body["people_age"]), "time_arrival": arrival})
