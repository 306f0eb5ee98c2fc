"""The plain data that passes between the layers. No I/O, no framework, nothing but the standard library."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

#: The choice of a traveller who wants none of the places shown.
NOTHING_CHOSEN: Final = -1


class TaskType(StrEnum):
    """What a task does; replies have it as ``type``."""

    INFERENCE = "inference"
    TRAINING = "training"


class Status(StrEnum):
    """The status of a task, with Celery's names."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the task."""
        return self in _FINISHED


_FINISHED: Final = frozenset({Status.SUCCESS, Status.FAILURE, Status.REVOKED})


@dataclass(frozen=True, slots=True)
class Traveller:
    """A trip as its traveller describes it. ``budget`` is money for one night of the whole party, never rounded."""

    name: str
    people_num: int
    people_age: tuple[int, ...]
    children_num: int
    budget: float
    nights: int
    time_arrival: date
    pool: bool
    spa: bool
    pet_friendly: bool
    lake: bool
    mountain: bool
    sport: bool


def identity_of(user_id: str | None, canonical: bytes) -> str:
    """Who a traveller is: the given id, else a digest of the 13 values in their canonical JSON."""
    if user_id:
        return f"id:{user_id}"
    return "digest:" + hashlib.blake2b(canonical, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the catalogue. ``price`` is money for one night; ratings usually lie in 0..6."""

    location_id: int
    children: bool
    breakfast: bool
    lunch: bool
    dinner: bool
    price: float
    has_pool: bool
    has_spa: bool
    animals: bool
    near_lake: bool
    near_mountains: bool
    has_sport: bool
    family_rating: float
    outdoor_rating: float
    food_rating: float
    leisure_rating: float
    service_rating: float
    user_score: float


#: The columns of a place, in the order of replies and files; without the id.
PLACE_FIELDS: Final = tuple(name for name in Place.__dataclass_fields__ if name != "location_id")
#: The columns of a place that are booleans.
PLACE_FLAGS: Final = tuple(name for name in PLACE_FIELDS if Place.__dataclass_fields__[name].type == "bool")
#: The 13 columns of a traveller, in the order of files.
TRAVELLER_FIELDS: Final = tuple(Traveller.__dataclass_fields__)
#: Each wish of a traveller, and the column of a place that meets it.
WISHES: Final = (
    ("pool", "has_pool"),
    ("spa", "has_spa"),
    ("pet_friendly", "animals"),
    ("lake", "near_lake"),
    ("mountain", "near_mountains"),
    ("sport", "has_sport"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a task did not succeed: a stable code and a sentence for people."""

    code: str
    detail: str

    def as_dict(self) -> Mapping[str, str]:
        """The problem as the ``error`` object of a reply."""
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Job:
    """One committed inference that waits for a worker."""

    task_id: UUID
    traveller: Traveller
    identity: str
    expired: bool
    #: The versions of the catalogue and of the set of models that are in force.
    versions: tuple[int, int]
    #: Seconds from its commit until it was read.
    waited_s: float = 0.0


def new_task_id() -> UUID:
    """A UUID of version 7 (RFC 9562): ids made later sort later, which keeps the indexes' new entries together."""
    random = int.from_bytes(os.urandom(10))
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def first_task_id(at: datetime) -> UUID:
    """The least id that a task started at this time can have."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def started_at(task_id: UUID) -> datetime:
    """When a task of :func:`new_task_id` was started, to the millisecond."""
    return datetime.fromtimestamp((task_id.int >> 80) / 1000, tz=UTC)
