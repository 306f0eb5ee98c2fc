"""Trainings on stored lists: they register what they learn, and survive the death of their workers."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.integration.broker import Vhost
from tests.integration.learned import (
    LISTS,
    PLACES,
    SEED,
    begun,
    register_contrary,
    shares,
    standing,
    training,
)
from tests.integration.support import eventually, opened, rows, soon, value
from tests.integration.workers import Workers, stop

from placerank.db.learning import LearningRepository, NewVersion, Promotion
from placerank.db.trainings import TrainingRepository, TrainingStart
from placerank.demo import synthetic
from placerank.domain import Status, new_task_id
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.queue.publisher import AmqpPublisher
from placerank.queue.relay import Relay
from placerank.worker.deliveries import Stopping, TooManyAttempts
from placerank.worker.training.datasets import dataset_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from tools.services import Services

    from placerank.db.pool import Database


def test_a_worker_trains_registers_and_puts_to_use(
    url: str, services: Services, broker_url: str, cache_url: str, tmp_path: Path
) -> None:
    vhost = Vhost(services, broker_url)
    workers = Workers(
        {
            "DATABASE_URL": url,
            "CELERY_BROKER_URL": vhost.url,
            "CELERY_BACKEND_URL": cache_url,
            "PLACERANK_CANARY__SHARES": "100",
        },
        tmp_path,
    )
    register_contrary(url)
    training_id = begun(url, seed=3)

    async def relayed() -> None:
        publisher = AmqpPublisher(vhost.url)
        await publisher.open()
        async with opened(url) as database:
            relay = Relay(database, publisher, interval_s=0.05, grace_s=0, lost_after_s=60, batch=10)
            await soon(lambda: publisher.connected)
            assert await relay.relay_once() == 1
        await publisher.close()

    asyncio.run(relayed())
    try:
        worker = workers.start("training")
        eventually(lambda: value(url, "SELECT finished_at FROM trainings"), within_s=30)
        stop(worker)
    finally:
        workers.end()
    found = standing(url, training_id)
    assert found.status is Status.SUCCESS
    assert found.progress == 1
    assert found.metrics is not None
    (dataset,) = rows(url, "SELECT * FROM datasets")
    assert (dataset["training_id"], dataset["lists"], dataset["seed"]) == (training_id, LISTS, 3)
    assert len(dataset["task_ids"]) == LISTS
    (version,) = rows(url, "SELECT * FROM models WHERE version = %s", found.model_version)
    assert (version["use_percentage"], version["dataset_id"]) == (100, dataset["id"])
    assert version["metrics"]["log_loss"] == found.metrics["log_loss"]
    assert vhost.depth(topology.TRAINING.name) == 0


def test_only_a_better_model_is_put_to_use(url: str, database: Database) -> None:
    register_contrary(url)
    (contrary,) = shares(url)
    first, second = begun(url, seed=1), begun(url, seed=1)
    training(database).run(first)
    learned = standing(url, first).model_version
    assert learned is not None
    assert shares(url) == {contrary: 0, learned: 100}
    # The same lists give the same model, which is not better than itself.
    training(database).run(second)
    again = standing(url, second).model_version
    assert again is not None
    assert shares(url) == {contrary: 0, learned: 100, again: 0}


def test_a_champion_that_cannot_be_read_is_left_out(url: str, database: Database) -> None:
    register_contrary(url)
    (contrary,) = shares(url)
    rows(url, "UPDATE models SET use_percentage = 40")
    rows(url, "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES ('logit', 'x', 'broken', 60)")
    training_id = begun(url)
    training(database).run(training_id)
    metrics = standing(url, training_id).metrics
    assert metrics is not None
    assert str(metrics["compared_with"]) == contrary


@pytest.mark.parametrize(
    "odd",
    [
        "revisions = NULL, location_ids = NULL",
        "revisions = revisions[2:]",
        "revisions = array_append(revisions[2:], NULL)",
        "revisions = array_append(revisions[2:], 999999999)",
        "choice = 999999",
    ],
)
def test_an_odd_list_is_left_out(url: str, database: Database, odd: str) -> None:
    before = value(url, "SELECT count(*) FROM inferences WHERE choice IS NOT NULL")
    rows(url, "CREATE TABLE kept AS SELECT * FROM inferences WHERE choice >= 0 ORDER BY id LIMIT 1")
    rows(url, f"UPDATE inferences SET {odd} WHERE id = (SELECT id FROM kept)")
    try:
        training_id = begun(url)
        training(database).run(training_id)
        assert standing(url, training_id).status is Status.SUCCESS
        assert value(url, "SELECT lists FROM datasets") == before - 1
        assert value(url, "SELECT (SELECT id FROM kept) = ANY(task_ids) FROM datasets") is False
    finally:
        rows(
            url,
            "UPDATE inferences AS i SET revisions = k.revisions, location_ids = k.location_ids, choice = k.choice"
            " FROM kept AS k WHERE i.id = k.id",
        )
        rows(url, "DROP TABLE kept")


def test_an_odd_dataset_of_an_earlier_attempt_is_recorded_anew(url: str, database: Database) -> None:
    training_id = begun(url)
    learning = LearningRepository(database)
    learning.record(training_id, replace(dataset_of(learning.lists(10_000), 0), choices=[]))
    training(database).run(training_id)
    assert standing(url, training_id).status is Status.SUCCESS
    newest = "SELECT cardinality(choices) FROM datasets ORDER BY id DESC LIMIT 1"
    assert value(url, newest) == LISTS


def test_the_same_lists_and_seed_give_the_same_model(url: str, database: Database) -> None:
    for _ in range(2):
        training(database).run(begun(url, seed=4))
    assert len(rows(url, "SELECT DISTINCT digest FROM models WHERE training_id IS NOT NULL")) == 1
    assert len(rows(url, "SELECT DISTINCT digest FROM datasets")) == 1


def test_too_few_answers_end_it_with_a_reason(url: str, database: Database) -> None:
    training_id = begun(url)
    training(database, min_lists=LISTS + 1).run(training_id)
    found = standing(url, training_id)
    assert found.status is Status.FAILURE
    assert found.problem is not None
    assert found.problem.code == "not_enough_data"
    assert str(LISTS) in found.problem.detail
    assert shares(url) == {}


def test_only_the_newest_lists_are_read(url: str, database: Database) -> None:
    training(database).run(begun(url, max_lists=50))
    newest = rows(url, "SELECT id FROM inferences ORDER BY user_id DESC LIMIT 50")
    assert {*value(url, "SELECT task_ids FROM datasets")} == {row["id"] for row in newest}


def test_a_dead_worker_s_lease_is_waited_for(url: str, database: Database) -> None:
    training_id = begun(url)
    # A worker claimed the training and died.
    assert LearningRepository(database).claim(training_id, 1.0) is not None
    lease_ends = value(url, "SELECT lease_until FROM trainings WHERE id = %s", training_id)
    training(database).run(training_id)
    (ended,) = rows(url, "SELECT status, attempts, finished_at FROM trainings WHERE id = %s", training_id)
    assert (ended["status"], ended["attempts"]) == ("SUCCESS", 2)
    assert ended["finished_at"] > lease_ends


def test_a_living_worker_keeps_its_training(url: str, database: Database) -> None:
    training_id, learning = begun(url), LearningRepository(database)
    assert learning.claim(training_id, 30) is not None
    second = training(database)
    ended: list[BaseException] = []

    def try_it() -> None:
        try:
            second.run(training_id)
        except Stopping as stopping:
            ended.append(stopping)

    thread = threading.Thread(target=try_it)
    thread.start()
    learning.report(training_id, 0.5, 30)
    found = standing(url, training_id)
    assert (found.status, found.progress) == (Status.STARTED, 0.5)
    second.stop()
    thread.join(10)
    assert len(ended) == 1
    assert value(url, "SELECT attempts FROM trainings WHERE id = %s", training_id) == 1


def test_stopping_hands_it_back_and_is_no_attempt(url: str, database: Database) -> None:
    training_id = begun(url)
    for _ in range(5):
        stopped = training(database)
        stopped.stop()
        with pytest.raises(Stopping):
            stopped.run(training_id)
        (row,) = rows(url, "SELECT attempts, lease_until FROM trainings WHERE id = %s", training_id)
        assert (row["attempts"], row["lease_until"]) == (0, None)
    training(database).run(training_id)
    assert standing(url, training_id).status is Status.SUCCESS


def test_one_that_keeps_killing_its_worker_is_given_up(url: str, database: Database) -> None:
    training_id, learning = begun(url), LearningRepository(database)
    for _ in range(3):
        assert learning.claim(training_id, 0) is not None
    with pytest.raises(TooManyAttempts):
        training(database).run(training_id)
    assert standing(url, training_id).problem is None


def test_a_training_that_ended_registers_nothing_more(url: str, database: Database) -> None:
    training_id, learning = begun(url), LearningRepository(database)
    version = NewVersion("logit", "d", b"artifact", {"log_loss": 1.0}, "card", promotion=Promotion(100, {}))
    assert learning.register(training_id, version) is not None
    before = shares(url)
    assert learning.register(training_id, version) is None
    assert shares(url) == before
    training(database).run(training_id)
    assert shares(url) == before


def test_an_unknown_training_is_passed_over(database: Database) -> None:
    training(database).run(new_task_id())


def test_the_same_key_starts_one_training(url: str) -> None:
    async def start_twice() -> list[bool]:
        async with opened(url) as database:
            repository = TrainingRepository(database)
            starts = [TrainingStart(new_task_id(), {}, "me", "key", "digest") for _ in range(6)]
            return list(await asyncio.gather(*(repository.start(start) for start in starts)))

    assert sorted(asyncio.run(start_twice())) == [False] * 5 + [True]
    assert value(url, "SELECT count(*) FROM trainings") == 1


def test_lists_are_read_as_they_were_answered(url: str, database: Database) -> None:
    answered = LearningRepository(database).lists(10_000)
    wanted = list(synthetic.shown_lists(LISTS, PLACES, SEED))
    assert [one.chosen for one in answered] == [chosen for _, _, _, chosen in wanted]
    assert [one.traveller for one in answered] == [traveller for traveller, _, _, _ in wanted]
    assert [len(one.places) for one in answered] == [10] * LISTS


def shuffle_choices(url: str) -> None:
    """Make the choices meaningless: each list gets the chosen position of the list before it."""
    rows(
        url,
        """
        WITH given AS (
            SELECT id, lag(array_position(location_ids, choice)) OVER (ORDER BY user_id) AS position FROM inferences
        )
        UPDATE inferences AS i SET choice = coalesce(i.location_ids[given.position], -1)
        FROM given WHERE given.id = i.id
        """,
    )


@pytest.fixture
def shuffled(url: str) -> Iterator[None]:
    before = rows(url, "SELECT id, choice FROM inferences")
    shuffle_choices(url)
    yield
    for row in before:
        rows(url, "UPDATE inferences SET choice = %s WHERE id = %s", row["choice"], row["id"])


@pytest.mark.usefixtures("shuffled")
def test_what_is_learned_from_shuffled_choices_is_refused(url: str, database: Database) -> None:
    training_id = begun(url, seed=1)
    training(database).run(training_id)
    found = standing(url, training_id)
    assert found.status is Status.SUCCESS
    assert found.model_version is not None
    assert shares(url)[found.model_version] == 0
    decision = value(url, "SELECT decision FROM models WHERE version = %s", found.model_version)
    assert decision["passed"] is False
    assert "not better" in " ".join(decision["reasons"])
    assert value(url, "SELECT count(*) FROM canaries") == 0


def test_a_version_that_passes_begins_with_its_first_share(url: str, database: Database) -> None:
    register_contrary(url)
    (contrary,) = shares(url)
    training_id = begun(url, seed=1)
    training(database, first_share=5).run(training_id)
    learned = standing(url, training_id).model_version
    assert shares(url) == {contrary: 95, learned: 5}
    (canary,) = rows(url, "SELECT * FROM canaries")
    assert (canary["share"], canary["status"], canary["ended_at"]) == (5, "running", None)
    for name in ("canary", "champion"):
        assert sum(canary["expected"][name]["shares"]) == pytest.approx(1)
    (model,) = rows(url, "SELECT * FROM models WHERE version = %s", learned)
    assert model["decision"]["interval"][0] > 0
    assert model["decision"]["champion_version"] == contrary
    assert "How good it is" in model["card"]
    for name in ("precision", "recall", "f1", "accuracy"):
        assert model[name] == model["metrics"][name]
    low, high = model["metrics"]["intervals"]["log_loss"]
    assert low < model["metrics"]["log_loss"] < high


def test_a_newer_version_takes_the_place_of_one_on_its_way(url: str, database: Database) -> None:
    register_contrary(url)
    learning, (contrary,) = LearningRepository(database), shares(url)
    names = []
    for _ in range(2):
        version = NewVersion("logit", "d", b"artifact", {}, "card", promotion=Promotion(25, {}))
        names.append(learning.register(begun(url), version))
    assert shares(url) == {contrary: 75, names[0]: 0, names[1]: 25}
    ended = rows(url, "SELECT status, ended_at IS NULL AS running FROM canaries ORDER BY id")
    assert ended == [{"status": "superseded", "running": False}, {"status": "running", "running": True}]


def test_a_second_attempt_learns_from_what_the_first_recorded(url: str, database: Database) -> None:
    training_id, learning = begun(url, seed=6), LearningRepository(database)
    # The first attempt died after it had recorded the lists.
    recorded = learning.record(training_id, dataset_of(learning.lists(100), 6))
    training(database).run(training_id)
    (model,) = rows(url, "SELECT dataset_id, metrics FROM models WHERE training_id = %s", training_id)
    assert model["dataset_id"] == recorded
    assert value(url, "SELECT count(*) FROM datasets") == 1


def test_lists_that_were_erased_since_are_not_waited_for(url: str, database: Database) -> None:
    training_id, learning = begun(url), LearningRepository(database)
    dataset = dataset_of(learning.lists(100), 0)
    learning.record(training_id, replace(dataset, task_ids=[*dataset.task_ids[1:], new_task_id()]))
    training(database).run(training_id)
    assert standing(url, training_id).status is Status.SUCCESS
    assert value(url, "SELECT lists FROM datasets") == LISTS


def test_one_training_at_a_time(url: str, database: Database) -> None:
    first, second, learning = begun(url), begun(url), LearningRepository(database)
    assert learning.claim(first, 30) is not None
    assert learning.claim(second, 30) is None
    learning.release(first)
    assert learning.claim(second, 30) is not None


def cancel(url: str, training_id: UUID) -> None:
    async def commit() -> None:
        async with opened(url) as pool:
            await TrainingRepository(pool).cancel(training_id)

    asyncio.run(commit())


def test_a_cancelled_training_registers_nothing(url: str, database: Database) -> None:
    before, running = begun(url), begun(url)
    cancel(url, before)
    training(database).run(before)
    cancelled_while_it_runs = threading.Thread(target=lambda: training(database).run(running))
    cancelled_while_it_runs.start()
    eventually(lambda: standing(url, running).status is Status.STARTED)
    cancel(url, running)
    cancelled_while_it_runs.join(30)
    for training_id in (before, running):
        found = standing(url, training_id)
        assert found.status is Status.REVOKED
        assert found.problem is not None
        assert found.problem.code == "cancelled"
        assert rows(url, "SELECT id FROM models WHERE training_id = %s", training_id) == []


def test_a_worker_killed_at_any_moment_loses_nothing(
    url: str, services: Services, broker_url: str, cache_url: str, tmp_path: Path
) -> None:
    """The first worker is killed when it has claimed the training, the second when the lists are recorded."""
    vhost = Vhost(services, broker_url)
    environment = {"CELERY_BROKER_URL": vhost.url, "CELERY_BACKEND_URL": cache_url, "PLACERANK_TRAINING__LEASE_S": "1"}
    workers = Workers({"DATABASE_URL": url, **environment}, tmp_path)
    training_id = begun(url, seed=3)
    # Each killed run counts as an attempt; a training may have three.
    moments = (
        "SELECT id FROM trainings WHERE lease_until > now()",
        "SELECT d.id FROM datasets AS d JOIN trainings ON lease_until > now()",
    )
    publish_training(vhost, training_id)
    try:
        for moment in moments:
            worker = workers.start("training")
            eventually(lambda moment=moment: rows(url, moment) or ended(url), within_s=60)  # type: ignore[misc]
            worker.kill()
            worker.join()
        workers.start("training")
        eventually(lambda: ended(url), within_s=60)
    finally:
        workers.end()
    assert standing(url, training_id).status is Status.SUCCESS
    (dataset,) = rows(url, "SELECT id, lists FROM datasets")
    assert dataset["lists"] == LISTS
    (model,) = rows(url, "SELECT dataset_id FROM models WHERE training_id = %s", training_id)
    assert model["dataset_id"] == dataset["id"]


def ended(url: str) -> bool:
    return bool(rows(url, "SELECT id FROM trainings WHERE finished_at IS NOT NULL"))


def publish_training(vhost: Vhost, training_id: UUID) -> None:
    async def publish() -> None:
        publisher = AmqpPublisher(vhost.url)
        await publisher.open()
        await soon(lambda: publisher.connected)
        await publisher.publish([TaskMessage(topology.TRAINING, training_id)])
        await publisher.close()

    asyncio.run(publish())
