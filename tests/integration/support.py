"""Helpers of the integration tests: waiting for conditions, starts, places, queries."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row
from tests.ledger import Ledger

from placerank.db.catalogue import CatalogueRepository
from placerank.db.inferences import InferenceRepository, Start
from placerank.db.jobs import Outcome, Shown
from placerank.db.pool import AsyncDatabase, Database
from placerank.demo import synthetic
from placerank.domain import identity_of, new_task_id
from placerank.schema.traveller import EXAMPLE, TravellerBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID


def eventually(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Wait until the condition is true; fail after a time-out."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


async def soon(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """``eventually`` for an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
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
    """A start as the API creates it."""
    party = {"name": name, "people_num": 2, "people_age": [41, 7], "budget": 350.25, "user_id": user_id}
    body = TravellerBody.model_validate(EXAMPLE | party)
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
    """The rows that a query finds."""
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
    """The outcome of an inference that showed these places."""
    return Outcome(task_id, shown=shown(location_ids))


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 4, timeout_s: float = 5.0) -> AsyncIterator[AsyncDatabase]:
    """The API's database pool, open."""
    database = AsyncDatabase(url, application_name="test", pool_size=pool_size, timeout_s=timeout_s)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def thread_database(url: str, pool_size: int = 4) -> Database:
    """A worker's database pool, open."""
    database = Database(url, application_name="test", pool_size=pool_size)
    database.open()
    return database


def store(url: str, starts: Sequence[Start]) -> list[UUID]:
    """Commit starts as the API does; returns their task ids."""

    async def commit() -> None:
        async with opened(url, pool_size=1) as database:
            assert len(await InferenceRepository(database).start(starts)) == len(starts)

    asyncio.run(commit())
    return [start.task_id for start in starts]


def accepted(task_ids: Sequence[UUID]) -> Ledger:
    """The ledger of a client whose starts these are."""
    told = Ledger()
    for task_id in task_ids:
        told.accept("client", str(task_id))
    return told
