"""A canary whose answers and choices are written directly into the database."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from tests.integration.support import opened, rows, shown, start_of, store, thread_database, value, with_places

from placerank.db.jobs import JobRepository, Outcome
from placerank.db.learning import NewVersion, Promotion
from placerank.db.models import ModelRepository
from placerank.db.registry import Registry
from placerank.domain import Problem
from placerank.rollout.canary import Action, Expected, Rules
from placerank.rollout.desk import CanaryRepository
from placerank.rollout.watch import CanaryWatch
from placerank.worker.first_model import ensure_first_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placerank.db.pool import Database

RULES = Rules(shares=(5, 25, 50, 100), step_s=0, least_answers=60)
OLD, NEW = "v1", "v2"


@pytest.fixture
def url(database_url: str) -> str:
    return with_places(database_url)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = thread_database(url)
    yield found
    found.close()


def tops(mean: float) -> list[float]:
    rng = random.Random(3)
    return [rng.gauss(mean, 0.05) for _ in range(400)]


@pytest.fixture(autouse=True)
def canary(database: Database) -> None:
    """v2 is the canary, with its first share."""
    ensure_first_model(database)
    expected = {"canary": Expected.of(tops(0.5)).as_dict(), "champion": Expected.of(tops(0.4)).as_dict()}
    version = NewVersion("logit", "d", b"artifact", {}, "card", promotion=Promotion(5, expected))
    assert Registry(database).add(version, None) == NEW


def serve(
    url: str, database: Database, version: str, *, count: int = 150, failures: int = 0, choices: int = 90, top: float
) -> None:
    """Store ``count`` answers of a version with best scores around ``top``, ``choices`` of them with a choice."""
    task_ids = store(url, [start_of(str(n)) for n in range(count + failures)])
    answer, scores = shown(version=version), tops(top)
    good = [
        Outcome(task_id, shown=replace(answer, scores=[scores[n % len(scores)], 0.1, 0.05]))
        for n, task_id in enumerate(task_ids[:count])
    ]
    problem = Problem("inference_failed", "No.")
    bad = [Outcome(task_id, problem=problem, model_version=version) for task_id in task_ids[count:]]
    JobRepository(database).finish([*good, *bad])
    rows(url, "UPDATE inferences SET choice = 1 WHERE id = ANY(%s)", task_ids[:choices])


def both_serve(url: str, database: Database) -> None:
    serve(url, database, OLD, top=0.4)
    serve(url, database, NEW, top=0.5)


def look(url: str, rules: Rules = RULES) -> Action | None:
    async def once() -> Action | None:
        async with opened(url) as pool:
            return await CanaryWatch(CanaryRepository(pool), rules, interval_s=1).look()

    return asyncio.run(once())


def shares(url: str) -> dict[str, int]:
    return {row["version"]: row["use_percentage"] for row in rows(url, "SELECT version, use_percentage FROM models")}


def ended(url: str) -> tuple[str, str]:
    (row,) = rows(url, "SELECT status, reason, figures FROM canaries WHERE ended_at IS NOT NULL")
    assert row["figures"]
    return row["status"], row["reason"]


def counted(result: str) -> float:
    """The value of the counter of ended canaries with this result."""
    return REGISTRY.get_sample_value("placerank_canaries_total", {"result": result}) or 0.0


def test_it_goes_from_step_to_step_until_it_serves_all(url: str, database: Database) -> None:
    seen, before = [], counted("promoted")
    for _ in range(3):
        assert look(url) is Action.WAIT
        both_serve(url, database)
        version = value(url, "SELECT models FROM versions")
        assert look(url) is Action.STEP_UP
        assert value(url, "SELECT models FROM versions") > version
        seen.append(shares(url))
    assert seen == [{OLD: 75, NEW: 25}, {OLD: 50, NEW: 50}, {OLD: 0, NEW: 100}]
    assert ended(url)[0] == "promoted"
    assert counted("promoted") == before + 1
    assert look(url) is None


def test_each_step_takes_its_time(url: str, database: Database) -> None:
    both_serve(url, database)
    assert look(url, replace(RULES, step_s=600)) is Action.WAIT
    assert shares(url) == {OLD: 95, NEW: 5}


def test_failures_take_it_back(url: str, database: Database) -> None:
    both_serve(url, database)
    serve(url, database, NEW, count=0, failures=20, choices=0, top=0.5)
    before = counted("rolled_back")
    assert look(url) is Action.ROLL_BACK
    assert counted("rolled_back") == before + 1
    assert shares(url) == {OLD: 100, NEW: 0}
    status, reason = ended(url)
    assert status == "rolled_back"
    assert "fails more" in reason


def test_scores_that_shifted_take_it_back(url: str, database: Database) -> None:
    serve(url, database, OLD, top=0.4)
    serve(url, database, NEW, top=0.8)
    assert look(url) is Action.ROLL_BACK
    assert shares(url) == {OLD: 100, NEW: 0}
    assert "stability index" in ended(url)[1]


def test_a_falling_choice_rate_takes_it_back(url: str, database: Database) -> None:
    serve(url, database, OLD, top=0.4)
    serve(url, database, NEW, choices=40, top=0.5)
    assert look(url) is Action.ROLL_BACK
    assert shares(url) == {OLD: 100, NEW: 0}
    assert "Fewer choose" in ended(url)[1]


def test_what_is_taken_back_in_the_middle_gives_all_back(url: str, database: Database) -> None:
    both_serve(url, database)
    assert look(url) is Action.STEP_UP
    serve(url, database, OLD, top=0.4)
    serve(url, database, NEW, count=100, failures=30, choices=60, top=0.5)
    assert look(url) is Action.ROLL_BACK
    assert shares(url) == {OLD: 100, NEW: 0}


def test_only_what_happened_since_the_last_step_counts(url: str, database: Database) -> None:
    both_serve(url, database)
    assert look(url) is Action.STEP_UP
    assert look(url) is Action.WAIT
    assert value(url, "SELECT figures -> 'canary' -> 'answers' FROM canaries") == 0


async def test_who_sets_a_share_takes_over(url: str, database: Database) -> None:
    async with opened(url) as pool:
        new_id = value(url, "SELECT id FROM models WHERE version = %s", NEW)
        await ModelRepository(pool).set_share(new_id, 40)
        assert await CanaryWatch(CanaryRepository(pool), RULES, interval_s=1).look() is Action.WAIT
    assert shares(url) == {OLD: 60, NEW: 40}
    assert value(url, "SELECT status FROM canaries") == "overridden"


async def test_several_who_watch_make_one_step(url: str, database: Database) -> None:
    await asyncio.to_thread(both_serve, url, database)
    async with opened(url, pool_size=6) as pool:
        watches = [CanaryWatch(CanaryRepository(pool), RULES, interval_s=1) for _ in range(6)]
        acted = await asyncio.gather(*(watch.look() for watch in watches))
    assert [one for one in acted if one is Action.STEP_UP] == [Action.STEP_UP]
    assert shares(url) == {OLD: 75, NEW: 25}


@pytest.mark.parametrize(
    "odd",
    [
        "[]",
        "null",
        '{"canary": [1]}',
        '{"canary": {"ends": [0.5]}}',
        '{"champion": {"ends": [0.5, 0.1], "shares": [0.2, 0.3, 0.5]}}',
        '{"canary": {"ends": ["x"], "shares": [0.5, 0.5]}}',
        '{"canary": {"ends": [1e400], "shares": [-1, 2]}}',
    ],
)
def test_a_canary_whose_expected_scores_are_odd_is_judged_without_them(url: str, database: Database, odd: str) -> None:
    rows(url, "UPDATE canaries SET expected = %s", odd)
    both_serve(url, database)
    assert look(url, RULES) is not None
    assert shares(url)[NEW] > 0
