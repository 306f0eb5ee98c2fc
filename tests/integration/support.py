"""What several integration tests need: waiting for conditions, starts, places, and a look at the database."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from placerank.api.requests import bodies
from placerank.db.catalogue import CatalogueRepository
from placerank.db.inferences import InferenceRepository, Start
from placerank.db.jobs import Outcome, Shown
from placerank.db.pool import AsyncDatabase, Database
from placerank.demo import synthetic
from placerank.domain import identity_of, new_task_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID


def eventually(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


async def soon(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """As ``eventually``, on an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.005)


def start_of(
    name: str = "Ann",
    *,
    user_id: str | None = None,
    key: str | None = None,
    caller: str = "",
    digest: str = "same",
    deadline_s: float | None = None,
    traceparent: str | None = None,
) -> Start:
    """A start as the API makes it."""
    body = bodies.TravellerBody.model_validate(
        {
            "name": name,
            "people_num": 2,
            "people_age": [41, 7],
            "children_num": 1,
            "budget": 350.25,
            "nights": 5,
            "time_arrival": "2027-07-03",
            "pool": True,
            "spa": False,
            "pet_friendly": False,
            "lake": True,
            "mountain": False,
            "sport": True,
            "user_id": user_id,
        }
    )
    return Start(
        task_id=new_task_id(),
        traveller=body.canonical(),
        identity=identity_of(user_id, body.canonical()),
        user_id=user_id,
        caller=caller,
        key=key,
        digest=digest if key else None,
        deadline_s=deadline_s,
        traceparent=traceparent,
    )


def places(count: int = 20, seed: int = 7) -> list[tuple[Any, ...]]:
    """Rows for a catalogue, with ids from 1."""
    return [astuple(place) for place in synthetic.places(count, seed)]


def with_places(url: str, count: int = 20) -> str:
    """Put places into a fresh database; returns its address."""
    CatalogueRepository(url).put(places(count))
    return url


def rows(url: str, query: str, *params: Any) -> list[dict[str, Any]]:
    """What a query finds."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(query.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def value(url: str, query: str, *params: Any) -> Any:
    """The only value that a query finds."""
    ((found,),) = (row.values() for row in rows(url, query, *params))
    return found


def shown(location_ids: Sequence[int] = (1, 2, 3), version: str = "v1") -> Shown:
    """An answer with these places, whose revisions are their ids."""
    return Shown(
        model_version=version,
        catalogue_version=1,
        candidates=20,
        revisions=list(location_ids),
        location_ids=list(location_ids),
        scores=[1 / (position + 2) for position in range(len(location_ids))],
        propensities=[1.0] * len(location_ids),
    )


def success(task_id: UUID, location_ids: Sequence[int] = (1, 2, 3)) -> Outcome:
    """An inference that showed these places."""
    return Outcome(task_id, shown=shown(location_ids))


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 4, timeout_s: float = 5.0) -> AsyncIterator[AsyncDatabase]:
    """The API's database."""
    database = AsyncDatabase(url, application_name="test", pool_size=pool_size, timeout_s=timeout_s)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def thread_database(url: str, pool_size: int = 4) -> Database:
    """A worker's database, open."""
    database = Database(url, application_name="test", pool_size=pool_size)
    database.open()
    return database


def store(url: str, starts: Sequence[Start]) -> list[UUID]:
    """Commit starts as the API does; returns their tasks."""

    async def commit() -> None:
        async with opened(url, pool_size=1) as database:
            assert len(await InferenceRepository(database).start(starts)) == len(starts)

    asyncio.run(commit())
    return [start.task_id for start in starts]
