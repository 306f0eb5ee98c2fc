"""Answered lists to learn from, and helpers of the tests of learning."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.support import opened, places, rows, shown, thread_database

from placerank.db.catalogue import CatalogueRepository
from placerank.db.inferences import InferenceRepository, Selection, Start
from placerank.db.jobs import JobRepository, Outcome
from placerank.db.learning import LearningRepository
from placerank.db.trainings import TrainingRepository, TrainingStanding, TrainingStart
from placerank.demo import synthetic
from placerank.domain import NOTHING_CHOSEN, new_task_id
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.worker.first_model import ensure_first_model
from placerank.worker.inference.catalogue_rows import catalogue_table
from placerank.worker.training.run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from placerank.db.pool import Database

LISTS, PLACES, SEED = 300, 60, 5


async def answer_lists(url: str, count: int) -> None:
    """Store ``count`` lists with the choices of their travellers."""
    lists = list(synthetic.shown_lists(LISTS, PLACES, SEED))[:count]
    starts = [
        Start(new_task_id(), json.dumps(asdict(traveller), default=str).encode(), identity, identity)
        for traveller, identity, _, _ in lists
    ]
    worker = thread_database(url)
    async with opened(url) as database:
        inferences = InferenceRepository(database)
        await inferences.start(starts)
        JobRepository(worker).finish(
            [
                Outcome(start.task_id, shown=shown([place.location_id for place in seen]))
                for start, (_, _, seen, _) in zip(starts, lists, strict=True)
            ]
        )
        await inferences.select(
            [
                Selection(start.task_id, NOTHING_CHOSEN if chosen < 0 else seen[chosen].location_id)
                for start, (_, _, seen, chosen) in zip(starts, lists, strict=True)
            ]
        )
    worker.close()


@pytest.fixture(scope="module")
def learned_from(new_database: Callable[[], str]) -> str:
    """A database with answered lists; every test of this module trains on it."""
    url = new_database()
    # The catalogue from which the lists were made.
    CatalogueRepository(url).put(places(PLACES, SEED))
    asyncio.run(answer_lists(url, LISTS))
    return url


@pytest.fixture
def url(learned_from: str) -> str:
    for table in ("models", "datasets", "trainings"):
        rows(learned_from, f"DELETE FROM {table}")
    return learned_from


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = thread_database(url)
    yield found
    found.close()


def training(database: Database, *, min_lists: int = 30, lease_s: float = 30, first_share: int = 100) -> TrainingRun:
    return TrainingRun(
        LearningRepository(database),
        lambda: catalogue_table(database),
        lambda: ensure_first_model(database),
        min_lists=min_lists,
        max_lists=10_000,
        lease_s=lease_s,
        answer_size=10,
        first_share=first_share,
    )


def begun(url: str, **options: Any) -> UUID:
    training_id = new_task_id()

    async def commit() -> None:
        async with opened(url) as database:
            assert await TrainingRepository(database).start(TrainingStart(training_id, options))

    asyncio.run(commit())
    return training_id


def standing(url: str, training_id: UUID) -> TrainingStanding:
    async def read() -> TrainingStanding | None:
        async with opened(url) as database:
            return await TrainingRepository(database).standing(training_id)

    found = asyncio.run(read())
    assert found is not None
    return found


def shares(url: str) -> dict[str, int]:
    return {row["version"]: row["use_percentage"] for row in rows(url, "SELECT version, use_percentage FROM models")}


def register_contrary(url: str) -> None:
    """Put a model in use whose weights are the negated prior, so that it ranks in reverse order."""
    good = prior()
    contrary = Model(good.kind, -good.weights, {}, good.normaliser)
    rows(
        url,
        "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES (%s, %s, %s, 100)",
        contrary.kind,
        contrary.digest,
        contrary.to_artifact(),
    )
