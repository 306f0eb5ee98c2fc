"""Models and catalogue change under load: no request is dropped, and each answer comes from one version of both."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.integration.broker import Vhost
from tests.integration.support import accepted, eventually, opened, places, rows, soon, start_of, store, value
from tests.integration.test_workers import send
from tests.integration.workers import Workers
from tests.ledger import Ledger, connection

from placerank.db.catalogue import CatalogueRepository
from placerank.db.inferences import InferenceRepository, Selection
from placerank.db.jobs import traveller_of
from placerank.db.trainings import TrainingRepository, TrainingStart
from placerank.demo import synthetic
from placerank.domain import NOTHING_CHOSEN, Place, new_task_id
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.queue.publisher import AmqpPublisher
from placerank.ranking.catalogue import PlaceTable
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.ranking.scoring.scorer import Scorer
from placerank.rollout.canary import Rules
from placerank.rollout.desk import CanaryRepository
from placerank.rollout.watch import CanaryWatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.services import Services

CATALOGUES, PLACES, SWAPS = 4, 40, 25


@pytest.fixture
def vhost(services: Services, broker_url: str) -> Vhost:
    return Vhost(services, broker_url)


@pytest.fixture
def workers(database_url: str, vhost: Vhost, cache_url: str, tmp_path: Path) -> Iterator[Workers]:
    environment = {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": vhost.url,
        "CELERY_BACKEND_URL": cache_url,
        "PLACERANK_WORKER__DEVICE": "cpu",
        "PLACERANK_WORKER__REFRESH_S": "0.02",
        "PLACERANK_CANARY__SHARES": "20,60,100",
    }
    found = Workers(environment, tmp_path)
    yield found
    found.end()


class Load:
    """A thread that keeps starting inferences."""

    def __init__(self, url: str, vhost: Vhost) -> None:
        self._url, self._vhost = url, vhost
        self._ended = threading.Event()
        self.told = Ledger()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def goes_on(self) -> None:
        """Wait until more inferences are started."""
        asked = len(self.told.accepted)
        eventually(lambda: len(self.told.accepted) > asked)

    def _ask(self) -> None:
        for turn in itertools.count():
            if self._ended.is_set():
                return
            task_ids = store(self._url, [start_of(f"{turn} {n}", user_id=f"{n}") for n in range(40)])
            send(self._vhost, task_ids)
            self.told.include(accepted(task_ids))


def add_model(url: str, seed: int) -> None:
    """Register another version that gets all traffic."""
    weights = prior().weights * np.random.default_rng(seed).uniform(0.2, 2.0, len(prior().weights))
    model = Model("logit", weights)
    rows(
        url,
        "WITH older AS (UPDATE models SET use_percentage = 0), newer AS ("
        " INSERT INTO models (kind, digest, artifact, use_percentage) VALUES (%s, %s, %s, 100))"
        " UPDATE versions SET models = models + 1",
        model.kind,
        model.digest,
        model.to_artifact(),
    )


def test_no_answer_is_dropped_or_of_two_minds(database_url: str, vhost: Vhost, workers: Workers) -> None:
    url, catalogues = database_url, CatalogueRepository(database_url)
    known: dict[int, list[tuple[object, ...]]] = {}

    def change_places(seed: int) -> None:
        found = places(PLACES, seed)
        catalogues.put(found, replace=True)
        known[value(url, "SELECT catalogue FROM versions")] = found

    change_places(0)
    workers.start()
    workers.start()
    eventually(lambda: rows(url, "SELECT id FROM models"), within_s=60)
    with Load(url, vhost) as load:
        for turn in range(SWAPS):
            change_places(turn + 1)
            add_model(url, turn)
            load.goes_on()
    assert load.told.wait_until_finished(connection(url), 60)
    verdict = load.told.check(connection(url)).demand_none()
    answered = rows(
        url, "SELECT i.*, u.* FROM inferences AS i JOIN users AS u ON u.id = i.user_id WHERE i.status = 'SUCCESS'"
    )
    assert len(answered) == verdict.accepted
    assert len({(row["model_version"], row["catalogue_version"]) for row in answered}) > SWAPS
    assert_each_of_one_mind(url, known, answered)


def assert_each_of_one_mind(
    url: str, known: dict[int, list[tuple[object, ...]]], answered: list[dict[str, object]]
) -> None:
    artifacts = {row["version"]: row["artifact"] for row in rows(url, "SELECT version, artifact FROM models")}
    scorers: dict[object, Scorer] = {}
    for row in answered:
        pair = row["model_version"], row["catalogue_version"]
        if pair not in scorers:
            model = Model.from_artifact(bytes(artifacts[pair[0]]))
            table = PlaceTable.from_places(1, [Place(*place) for place in known[pair[1]]])  # type: ignore[arg-type, index]
            scorers[pair] = Scorer(model, table)
        (expected,) = scorers[pair].rank([traveller_of(row)], 10)
        ids = scorers[pair].table.location_ids[list(expected.rows)].tolist()
        assert row["location_ids"] == ids
        assert row["scores"] == pytest.approx(expected.scores)


def test_a_share_of_the_answers_explores_with_known_chances(database_url: str, vhost: Vhost, workers: Workers) -> None:
    url, share, depth = database_url, 0.3, 30
    CatalogueRepository(url).put(places(PLACES))
    workers.start(PLACERANK_INFERENCE__EXPLORATION=str(share))
    task_ids = store(url, [start_of(f"{n}", user_id=f"{n}") for n in range(400)])
    send(vhost, task_ids)
    eventually(lambda: not rows(url, "SELECT id FROM inferences WHERE finished_at IS NULL LIMIT 1"), within_s=60)
    found = rows(url, "SELECT explored, location_ids, scores, propensities, candidates_digest FROM inferences")
    explored = [row for row in found if row["explored"]]
    # Four standard deviations.
    assert abs(len(explored) / 400 - share) < 0.1
    assert len({row["candidates_digest"] for row in found}) == 1
    assert found[0]["candidates_digest"]
    (exact,) = {tuple(row["location_ids"]) for row in found if not row["explored"]}
    for row in found:
        for position, (location_id, propensity) in enumerate(
            zip(row["location_ids"], row["propensities"], strict=True)
        ):
            stands_there = 1 - share if exact[position] == location_id else 0
            assert propensity == pytest.approx(stands_there + share / depth)
    orders = {tuple(row["location_ids"]) for row in explored}
    assert len(orders) == len(explored)
    assert all(sum(row["scores"]) <= 1 for row in explored)


def contrary(url: str) -> None:
    """Give all traffic to a model that ranks in reverse order."""
    model = Model("logit", -prior().weights)
    rows(
        url,
        "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES (%s, %s, %s, 100)",
        model.kind,
        model.digest,
        model.to_artifact(),
    )


def test_a_better_model_goes_live_by_steps_while_travellers_are_served(
    database_url: str, vhost: Vhost, workers: Workers
) -> None:
    url = database_url
    CatalogueRepository(url).put(places(PLACES))
    contrary(url)
    workers.start()
    workers.start("training")
    rules = Rules(shares=(20, 60, 100), step_s=0, least_answers=60)
    with Load(url, vhost) as load:
        # The training learns only from these choices.
        answered = "SELECT count(*) FROM inferences WHERE status = 'SUCCESS'"
        eventually(lambda: value(url, answered) > 400, within_s=120)
        asyncio.run(choose(url, load.told))
        asyncio.run(train(url, vhost))
        ended = "SELECT status, error_detail, metrics FROM trainings WHERE finished_at IS NOT NULL"
        eventually(lambda: rows(url, ended), within_s=120)
        assert rows(url, "SELECT id FROM canaries"), rows(url, ended)
        seen = asyncio.run(watched(url, rules))
    assert load.told.wait_until_finished(connection(url), 60)
    assert seen == [20, 60, 100]
    assert value(url, "SELECT status FROM canaries") == "promoted"
    verdict = load.told.check(connection(url)).demand_none()
    assert value(url, "SELECT count(*) FROM inferences") == verdict.accepted


async def choose(url: str, told: Ledger) -> None:
    """Store simulated choices for all answers so far."""
    rng = np.random.default_rng(1)
    catalogue = {place.location_id: place for place in synthetic.places(PLACES, 7)}
    answered = rows(
        url,
        "SELECT u.*, i.id AS task_id, i.location_ids FROM inferences AS i JOIN users AS u ON u.id = i.user_id"
        " WHERE i.status = 'SUCCESS'",
    )
    selections = []
    for row in answered:
        seen = [catalogue[one] for one in row["location_ids"]]
        chosen = synthetic.choose(traveller_of(row), seen, rng)
        selections.append(Selection(row["task_id"], NOTHING_CHOSEN if chosen < 0 else seen[chosen].location_id))
    async with opened(url) as pool:
        await InferenceRepository(pool).select(selections)
    for selection in selections:
        told.selected("client", str(selection.task_id), selection.location_id)


async def train(url: str, vhost: Vhost) -> None:
    training_id = new_task_id()
    publisher = AmqpPublisher(vhost.url)
    await publisher.open()
    async with opened(url) as pool:
        assert await TrainingRepository(pool).start(TrainingStart(training_id, {}))
        await soon(lambda: publisher.connected)
        await publisher.publish([TaskMessage(topology.TRAINING, training_id)])
    await publisher.close()


async def watched(url: str, rules: Rules) -> list[int]:
    """Run the canary watch until all traffic is moved; returns the shares of the new version in order."""
    seen = [20]
    async with opened(url) as pool:
        watch = CanaryWatch(CanaryRepository(pool), rules, interval_s=1)
        while seen[-1] != 100:
            await watch.look()
            (canary,) = await asyncio.to_thread(rows, url, "SELECT share, status, reason FROM canaries")
            assert canary["status"] in ("running", "promoted"), canary
            if canary["share"] != seen[-1]:
                seen.append(canary["share"])
            await asyncio.sleep(0.05)
    return seen
