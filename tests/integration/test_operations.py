"""Commands of operators: list, replay and purge dead letters; prune old rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from click.testing import CliRunner
from tests.integration.broker import Vhost
from tests.integration.support import opened, rows, start_of, store, success, thread_database, value, with_places

from placerank.cache.redis import key_of
from placerank.cli import cli
from placerank.db import operations
from placerank.db.catalogue import CatalogueRepository
from placerank.db.jobs import JobRepository, Outcome
from placerank.db.operations import OperationsRepository
from placerank.domain import Problem
from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.queue.message import TaskMessage
from placerank.worker.dead_letters import DeadLetters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from click.testing import Result
    from tools.services import Services

DEAD = topology.DEAD_LETTER_QUEUE
FAILED = Problem("too_many_attempts", "The worker died in each attempt to run this task.")


@pytest.fixture
def url(database_url: str) -> str:
    return with_places(database_url)


@pytest.fixture
def vhost(services: Services, broker_url: str) -> Vhost:
    return Vhost(services, broker_url)


@pytest.fixture
def run(url: str, vhost: Vhost, cache_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, address in (("DATABASE_URL", url), ("CELERY_BROKER_URL", vhost.url), ("CELERY_BACKEND_URL", cache_url)):
        monkeypatch.setenv(name, address)
    return Run()


class Run:
    """Runs ``placerank`` commands in this process."""

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))


def dead_letters(url: str, vhost: Vhost, names: Sequence[str]) -> list[UUID]:
    """Dead-lettered inferences, as a worker leaves them."""
    task_ids = store(url, [start_of(name, user_id=name) for name in names])
    finish(url, [Outcome(task_id, problem=FAILED) for task_id in task_ids])
    letters = DeadLetters(make_app(vhost.url))
    for task_id in task_ids:
        letters.publish(TaskMessage(topology.INFERENCE, task_id), FAILED.code)
    return task_ids


def finish(url: str, outcomes: Sequence[Outcome]) -> None:
    database = thread_database(url, pool_size=1)
    assert len(JobRepository(database).finish(outcomes)) == len(outcomes)
    database.close()


def test_dead_letters_are_listed_with_their_reasons_and_stay(run: Run, url: str, vhost: Vhost) -> None:
    task_ids = dead_letters(url, vhost, ["Ann", "Bob"])
    for _ in range(2):
        listed = run("dead-letters", "list").stdout.splitlines()
        assert [line.split() for line in listed] == [
            [str(task_id), "placerank.rank", "too_many_attempts"] for task_id in task_ids
        ]
    assert vhost.depth(DEAD) == 2


def test_what_is_replayed_waits_to_be_published_and_is_no_dead_letter_any_more(
    run: Run, url: str, vhost: Vhost, cache_url: str
) -> None:
    ann, bob = dead_letters(url, vhost, ["Ann", "Bob"])
    with redis.Redis.from_url(cache_url) as cache:
        cache.set(key_of(ann), b"its end, as it was known")
        done = run("dead-letters", "replay", str(ann))
        assert (done.exit_code, cache.exists(key_of(ann))) == (0, 0), done.output
    assert [message.task_id for message in vhost.drain(DEAD)] == [str(bob)]
    query = "SELECT status, attempts, finished_at, published_at, error_code FROM inferences WHERE id = %s"
    assert rows(url, query, ann) == [
        {"status": "PENDING", "attempts": 0, "finished_at": None, "published_at": None, "error_code": None}
    ]
    assert value(url, "SELECT status FROM inferences WHERE id = %s", bob) == "FAILURE"
    assert value(url, "SELECT count(*) FROM events WHERE kind = 'replayed' AND task_id = %s", ann) == 1


def test_a_letter_whose_task_has_not_failed_stays(run: Run, url: str, vhost: Vhost) -> None:
    (ann,) = store(url, [start_of("Ann")])
    finish(url, [success(ann)])
    DeadLetters(make_app(vhost.url)).publish(TaskMessage(topology.INFERENCE, ann), "inference_failed")
    assert "Replayed 0 of 1" in run("dead-letters", "replay", "--all").output
    assert vhost.depth(DEAD) == 1
    assert value(url, "SELECT status FROM inferences") == "SUCCESS"


def test_a_failed_training_is_replayed_too(run: Run, url: str, vhost: Vhost) -> None:
    training = uuid4()
    rows(url, "INSERT INTO trainings (id, status, attempts, finished_at) VALUES (%s, 'FAILURE', 4, now())", training)
    DeadLetters(make_app(vhost.url)).publish(TaskMessage(topology.TRAINING, training), "training_failed")
    assert "Replayed 1 of 1" in run("dead-letters", "replay", "--all").output
    assert rows(url, "SELECT status, attempts, finished_at FROM trainings") == [
        {"status": "PENDING", "attempts": 0, "finished_at": None}
    ]


def test_purged_letters_are_gone_and_their_tasks_stay_failed(run: Run, url: str, vhost: Vhost) -> None:
    dead_letters(url, vhost, ["Ann", "Bob"])
    assert "Removed 2" in run("dead-letters", "purge", "--all").output
    assert vhost.depth(DEAD) == 0
    assert value(url, "SELECT count(*) FROM inferences WHERE status = 'FAILURE'") == 2


@pytest.mark.parametrize("action", ["replay", "purge"])
def test_a_letter_that_is_not_there_changes_nothing(action: str, run: Run, url: str, vhost: Vhost) -> None:
    (ann,) = dead_letters(url, vhost, ["Ann"])
    done = run("dead-letters", action, str(ann), str(uuid4()))
    assert "nothing was changed" in str(done.exception)
    assert vhost.depth(DEAD) == 1
    assert value(url, "SELECT status FROM inferences") == "FAILURE"


@pytest.mark.parametrize("action", ["replay", "purge"])
def test_nothing_and_everything_at_once_are_no_choice(action: str, run: Run) -> None:
    assert run("dead-letters", action).exit_code == 2
    assert run("dead-letters", action, "--all", str(uuid4())).exit_code == 2


def test_a_message_of_the_broker_itself_is_listed_with_the_brokers_reason(run: Run, vhost: Vhost) -> None:
    with vhost._channel() as channel:
        message = channel.prepare_message(
            json.dumps([["?"], {}, {}]).encode(), headers={"x-death": [{"reason": "expired"}]}
        )
        channel.basic_publish(message, exchange=topology.DEAD_LETTER_EXCHANGE, routing_key=topology.INFERENCE.name)
    assert run("dead-letters", "list").stdout.split() == ["(unreadable)", topology.INFERENCE.name, "expired"]


def test_a_broker_that_is_away_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://me:hidden@127.0.0.1:1/trips")
    done = run("dead-letters", "list")
    assert "CELERY_BROKER_URL" in str(done.exception)
    assert "hidden" not in str(done.exception)


def test_what_finished_long_ago_goes_with_all_that_hangs_on_it(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_BATCH", 2)
    old = store(url, [start_of(f"old {n}", user_id=f"{n}", key=f"{n}") for n in range(5)])
    new = store(url, [start_of(f"new {n}", user_id=f"{n}", key=f"new {n}") for n in range(2)])
    finish(url, [success(task_id) for task_id in [*old[:4], *new]])
    rows(url, "UPDATE inferences SET created_at = now() - interval '91 days' WHERE id = ANY(%s)", old)
    assert "Removed 4 inferences" in run("prune", "--older-than", "90d").output
    # Unfinished inferences stay, however old they are.
    kept = {old[4], *new}
    assert {row["id"] for row in rows(url, "SELECT id FROM inferences")} == kept
    assert {row["task_id"] for row in rows(url, "SELECT task_id FROM events")} == kept
    assert {row["task_id"] for row in rows(url, "SELECT task_id FROM idempotency_keys")} == kept
    assert value(url, "SELECT count(*) FROM users") == 3
    assert "Removed 0 inferences" in run("prune", "--older-than", "90d").output


def test_keys_of_yesterday_and_places_that_nothing_shows_go(run: Run, url: str) -> None:
    store(url, [start_of("Ann", key="old"), start_of("Bob", key="new", caller="b")])
    rows(url, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = 'old'")
    rows(url, "UPDATE locations SET removed_at = now() - interval '92 days' WHERE location_id = 1")
    rows(url, "UPDATE locations SET removed_at = now() - interval '89 days' WHERE location_id = 2")
    assert "1 idempotency keys and 1 revisions" in run("prune", "--older-than", "90d").output
    assert value(url, "SELECT key FROM idempotency_keys") == "new"
    assert value(url, "SELECT count(*) FROM locations WHERE location_id IN (1, 2)") == 1
    assert CatalogueRepository(url).count() == 18


async def test_pruning_says_how_far_it_is(url: str) -> None:
    async with opened(url) as database:
        seen: list[int] = []
        await OperationsRepository(database).prune(datetime.now(UTC) - timedelta(days=1), seen.append)
    assert seen == [0]


@pytest.mark.parametrize("age", ["90", "d", "-1d", "1.5d", "90 d", "1y", ""])
def test_an_age_that_is_none_is_refused(age: str, run: Run) -> None:
    done = run("prune", "--older-than", age)
    assert done.exit_code == 2
    assert "is not an age" in done.output
