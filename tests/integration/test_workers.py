"""Workers as processes: each task is done once, whatever happens to them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from tests.integration.broker import Vhost
from tests.integration.support import accepted, eventually, places, rows, soon, start_of, store, value, with_places
from tests.integration.workers import BREAKER, KILLER, Workers, stop
from tests.ledger import connection, counting_finishes

from placerank.cache.announcement import CHANNEL
from placerank.cache.answers import Answer
from placerank.cache.redis import key_of
from placerank.db.catalogue import CatalogueRepository
from placerank.domain import Status
from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.queue.message import TaskMessage
from placerank.queue.publisher import AmqpPublisher
from placerank.ranking.model import Model
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from tools.services import Services

DEAD = topology.DEAD_LETTER_QUEUE


@pytest.fixture
def url(database_url: str) -> str:
    return with_places(database_url)


@pytest.fixture
def vhost(services: Services, broker_url: str) -> Vhost:
    return Vhost(services, broker_url)


@pytest.fixture
def workers(url: str, vhost: Vhost, cache_url: str, tmp_path: Path) -> Iterator[Workers]:
    environment = {
        "DATABASE_URL": url,
        "CELERY_BROKER_URL": vhost.url,
        "CELERY_BACKEND_URL": cache_url,
        "PLACERANK_WORKER__DEVICE": "cpu",
        "PLACERANK_WORKER__REFRESH_S": "0.05",
    }
    found = Workers(environment, tmp_path)
    yield found
    found.end()


def send(vhost: Vhost, task_ids: Sequence[UUID]) -> None:
    """Publish as the API does."""
    publish(vhost, [TaskMessage(topology.INFERENCE, task_id) for task_id in task_ids])


def publish(vhost: Vhost, messages: Sequence[TaskMessage]) -> None:
    async def flight() -> None:
        publisher = AmqpPublisher(vhost.url)
        await publisher.open()
        await soon(lambda: publisher.connected)
        confirmed = await publisher.publish(messages)
        await publisher.close()
        assert len(confirmed) == len(messages)

    asyncio.run(flight())


def ask(url: str, vhost: Vhost, names: Sequence[str], *, deadline_s: float | None = None) -> list[UUID]:
    task_ids = store(url, [start_of(name, user_id=f"{n}", deadline_s=deadline_s) for n, name in enumerate(names)])
    send(vhost, task_ids)
    return task_ids


def state(url: str, task_id: UUID) -> tuple[str, str | None]:
    (row,) = rows(url, "SELECT status, error_code FROM inferences WHERE id = %s", task_id)
    return row["status"], row["error_code"]


def all_finished(url: str) -> bool:
    return not rows(url, "SELECT id FROM inferences WHERE finished_at IS NULL LIMIT 1")


def statuses(url: str) -> dict[str, int]:
    return {row["status"]: row["n"] for row in rows(url, "SELECT status, count(*) AS n FROM inferences GROUP BY 1")}


def test_our_message_and_celery_s_own_are_the_same_work(
    url: str, vhost: Vhost, workers: Workers, cache_url: str
) -> None:
    (ours,) = ask(url, vhost, ["ours"])
    (theirs,) = store(url, [start_of("theirs")])
    app = make_app(vhost.url)

    @app.task(name=topology.INFERENCE.task)  # type: ignore[untyped-decorator]
    def rank(task_id: str) -> None: ...

    with redis.Redis.from_url(cache_url) as client, client.pubsub() as heard:
        heard.subscribe(CHANNEL)
        workers.start()
        rank.apply_async((str(theirs),), task_id=str(theirs))
        app.close()
        eventually(lambda: all_finished(url))
        eventually(lambda: client.get(key_of(ours)) and client.get(key_of(theirs)))
        records = {task_id: client.get(key_of(task_id)) for task_id in (ours, theirs)}
        announced = b""
        deadline = time.monotonic() + 5
        while not all(task_id.bytes in announced for task_id in records):
            assert time.monotonic() < deadline
            message = heard.get_message(timeout=1)
            announced += message["data"] if message and message["type"] == "message" else b""
    for task_id, record in records.items():
        assert isinstance(record, bytes)
        answer = Answer.decode(record)
        assert answer.status is Status.SUCCESS
        assert answer.model_version == "v1"
        listed = json.loads(answer.places_json)
        stored = rows(url, "SELECT location_id, score FROM results WHERE task_id = %s ORDER BY position", task_id)
        assert [(place["location_id"], place["score"]) for place in listed] == [
            (row["location_id"], row["score"]) for row in stored
        ]
        assert len(listed) == 10
    assert [vhost.depth(queue) for queue in (topology.INFERENCE.name, DEAD)] == [0, 0]


class AckTimes:
    """A TCP proxy between a worker and the broker that records the times of acknowledgements."""

    #: In a method frame: its size (13 bytes of ids and arguments), class 60, method 80 (basic.ack).
    ACK = b"\x00\x00\x00\x0d\x00\x3c\x00\x50"

    def __init__(self, broker_url: str) -> None:
        parts = urlsplit(broker_url)
        self._broker = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{login}@127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        self.times: list[float] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._broker)
            self._sockets += [client, server]
            for source, target, watched in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._forward, args=(source, target, watched))
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        try:
            while data := source.recv(65536):
                if watched:
                    self.times += [time.monotonic()] * data.count(self.ACK)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def test_acknowledgements_leave_at_once(url: str, vhost: Vhost, workers: Workers) -> None:
    between = AckTimes(vhost.url)
    workers.start(CELERY_BROKER_URL=between.url)
    try:
        ask(url, vhost, ["warm-up"])
        eventually(lambda: len(between.times) == 1)
        for count in range(2, 7):
            ask(url, vhost, ["lone"])
            eventually(lambda: all_finished(url))
            finished = time.monotonic()
            eventually(lambda wanted=count: len(between.times) == wanted)  # type: ignore[misc]
            assert between.times[-1] - finished < 1
    finally:
        workers.end()
        between.close()


def test_an_inference_that_fails_is_kept_and_its_neighbours_succeed(url: str, vhost: Vhost, workers: Workers) -> None:
    task_ids = ask(url, vhost, ["a", "b", BREAKER, "c", "d"])
    worker = workers.start()
    eventually(lambda: all_finished(url))
    assert state(url, task_ids[2]) == ("FAILURE", "inference_failed")
    assert statuses(url) == {"FAILURE": 1, "SUCCESS": 4}
    eventually(lambda: vhost.depth(DEAD) == 1)
    (letter,) = vhost.drain(DEAD)
    assert letter.task_id == str(task_ids[2])
    assert letter.headers["id"] == str(task_ids[2])
    stop(worker)
    assert vhost.depth() == 0


def test_one_that_keeps_killing_its_worker_ends_alone_after_three_attempts(
    url: str, vhost: Vhost, workers: Workers
) -> None:
    task_ids = ask(url, vhost, ["a", "b", KILLER, "c", "d"])
    worker, deaths = workers.start(), 0
    deadline = time.monotonic() + 60
    while not all_finished(url):
        assert time.monotonic() < deadline, workers.logs()
        if not worker.is_alive():
            assert worker.exitcode == 9
            worker, deaths = workers.start(), deaths + 1
    # The first run, in a batch, is not recorded as an attempt; the next three are.
    assert deaths == 4
    assert state(url, task_ids[2]) == ("FAILURE", "too_many_attempts")
    assert statuses(url) == {"FAILURE": 1, "SUCCESS": 4}
    eventually(lambda: vhost.depth(DEAD) == 1)
    assert vhost.drain(DEAD)[0].task_id == str(task_ids[2])
    stop(worker)
    assert vhost.depth() == 0


def test_graceful_restarts_under_a_backlog_lose_nothing_and_count_nothing(
    url: str, vhost: Vhost, workers: Workers
) -> None:
    told = accepted(ask(url, vhost, [f"{n}" for n in range(200)]))
    slowly = {"TEST_SLOW_S": "0.05", "PLACERANK_WORKER__BATCH_SIZE": "4", "PLACERANK_WORKER__THREADS": "4"}
    for turn in range(4):
        worker = workers.start(**slowly)
        eventually(lambda least=8 * (turn + 1): statuses(url).get("SUCCESS", 0) >= least)  # type: ignore[misc]
        stop(worker)
        assert not all_finished(url)
    worker = workers.start()
    eventually(lambda: all_finished(url))
    assert statuses(url) == {"SUCCESS": 200}
    assert told.check(connection(url)).demand_none().most_attempts <= 1
    stop(worker)
    assert [vhost.depth(queue) for queue in (topology.INFERENCE.name, DEAD)] == [0, 0]


def test_a_duplicate_is_applied_once(url: str, vhost: Vhost, workers: Workers) -> None:
    task_ids = ask(url, vhost, ["a", "b"])
    send(vhost, [*task_ids, *task_ids])
    with counting_finishes(url):
        workers.start()
        eventually(lambda: all_finished(url))
        eventually(lambda: vhost.depth() == 0)
        accepted(task_ids).check(connection(url), finishes_counted=True).demand_none()
    assert statuses(url) == {"SUCCESS": 2}
    assert value(url, "SELECT count(*) FROM results") == 20


def test_what_is_too_late_fails_before_it_is_computed(url: str, vhost: Vhost, workers: Workers) -> None:
    (late,) = store(url, [start_of(KILLER, deadline_s=60)])
    rows(url, "UPDATE inferences SET deadline_at = now() - interval '1 second'")
    send(vhost, [late])
    (in_time,) = ask(url, vhost, ["in time"], deadline_s=60)
    worker = workers.start()
    eventually(lambda: all_finished(url))
    assert state(url, late) == ("FAILURE", "deadline_exceeded")
    assert state(url, in_time) == ("SUCCESS", None)
    assert worker.is_alive()
    assert vhost.depth(DEAD) == 0


def test_an_erased_or_cancelled_inference_is_passed_over(url: str, vhost: Vhost, workers: Workers) -> None:
    erased, cancelled, kept = store(url, [start_of(name) for name in "abc"])
    rows(url, "DELETE FROM inferences WHERE id = %s", erased)
    rows(url, "UPDATE inferences SET status = 'REVOKED', finished_at = now() WHERE id = %s", cancelled)
    send(vhost, [erased, cancelled, kept])
    workers.start()
    eventually(lambda: all_finished(url))
    eventually(lambda: vhost.depth() == 0)
    assert [state(url, task_id)[0] for task_id in (cancelled, kept)] == ["REVOKED", "SUCCESS"]


def test_a_new_catalogue_and_new_models_are_taken_up_without_a_restart(
    url: str, vhost: Vhost, workers: Workers
) -> None:
    # With a long refresh interval, the batch that finds a newer version waits until it is loaded.
    workers.start(PLACERANK_WORKER__REFRESH_S="60")
    (first,) = ask(url, vhost, ["first"])
    eventually(lambda: all_finished(url))
    CatalogueRepository(url).put([(500, *row[1:]) for row in places(1)], replace=True)
    (second,) = ask(url, vhost, ["second"])
    eventually(lambda: all_finished(url))
    shown = rows(url, "SELECT location_id FROM results WHERE task_id = %s", second)
    assert [row["location_id"] for row in shown] == [500]
    register(url, 100)
    (third,) = ask(url, vhost, ["third"])
    eventually(lambda: all_finished(url))
    versions = rows(url, "SELECT id, model_version FROM inferences")
    assert {row["id"]: row["model_version"] for row in versions} == {first: "v1", second: "v1", third: "v2"}


def register(url: str, share: int) -> None:
    """Register a version with other weights, which takes this share from the first version."""
    other = prior()
    model = Model(other.kind, other.weights * 0.5, {}, other.normaliser)
    rows(url, "UPDATE models SET use_percentage = %s WHERE id = 1", 100 - share)
    rows(
        url,
        "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES (%s, %s, %s, %s)",
        model.kind,
        model.digest,
        model.to_artifact(),
        share,
    )
    rows(url, "UPDATE versions SET models = models + 1")


def test_shares_are_kept_and_a_traveller_stays_with_a_version(url: str, vhost: Vhost, workers: Workers) -> None:
    workers.start()
    eventually(lambda: rows(url, "SELECT id FROM models"))
    register(url, 30)
    names = [f"{n}" for n in range(400)]
    for _ in range(2):
        ask(url, vhost, names)
    eventually(lambda: all_finished(url))
    served = rows(
        url,
        "SELECT identity, array_agg(DISTINCT model_version) AS versions FROM inferences JOIN users"
        " ON users.id = inferences.user_id GROUP BY identity",
    )
    assert len(served) == 400
    assert all(len(row["versions"]) == 1 for row in served)
    share = sum(row["versions"] == ["v2"] for row in served) / len(served)
    # Three standard deviations of 400 draws.
    assert abs(share - 0.3) < 0.07


def test_a_version_that_cannot_be_loaded_is_left_out(url: str, vhost: Vhost, workers: Workers) -> None:
    workers.start()
    eventually(lambda: rows(url, "SELECT id FROM models"))
    register(url, 50)
    rows(url, "UPDATE models SET artifact = 'damaged' WHERE id = 2")
    CatalogueRepository(url).put([(500, *row[1:]) for row in places(1)], replace=True)
    ask(url, vhost, [f"{n}" for n in range(50)])
    eventually(lambda: all_finished(url))
    answers = rows(url, "SELECT DISTINCT model_version, location_ids FROM inferences")
    assert [(row["model_version"], row["location_ids"]) for row in answers] == [("v1", [500])]


def test_workers_that_start_together_register_one_first_model(url: str, vhost: Vhost, workers: Workers) -> None:
    for _ in range(3):
        workers.start()
    ask(url, vhost, [f"{n}" for n in range(50)])
    eventually(lambda: all_finished(url))
    found = rows(url, "SELECT version, use_percentage FROM models")
    assert [(row["version"], row["use_percentage"]) for row in found] == [("v1", 100)]


def test_a_worker_waits_out_an_outage_of_the_database(
    url: str, vhost: Vhost, workers: Workers, services: Services
) -> None:
    if not services.owned("postgresql"):
        pytest.skip("PostgreSQL was not started here")
    worker = workers.start()
    before = ask(url, vhost, ["before"])
    eventually(lambda: all_finished(url))
    task_ids = store(url, [start_of(f"{n}") for n in range(100)])
    services.stop("postgresql")
    try:
        send(vhost, task_ids)
        eventually(lambda: vhost.depth() == 0)
    finally:
        services.start("postgresql")
    eventually(lambda: all_finished(url))
    assert worker.is_alive()
    assert statuses(url) == {"SUCCESS": 101}
    assert accepted([*before, *task_ids]).check(connection(url)).demand_none().most_attempts == 0
    assert vhost.depth(DEAD) == 0


def test_a_worker_that_never_had_a_model_hands_back_what_it_took(url: str, vhost: Vhost, workers: Workers) -> None:
    rows(url, "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES ('logit', 'x', 'broken', 100)")
    worker = workers.start()
    ask(url, vhost, ["a", "b"])
    for _ in range(4):
        eventually(lambda: vhost.depth() == 0)
        stop(worker)
        assert vhost.depth() == 2
        worker = workers.start()
    rows(url, "DELETE FROM models")
    eventually(lambda: all_finished(url))
    assert statuses(url) == {"SUCCESS": 2}
    assert vhost.depth(DEAD) == 0


class OddMessage(TaskMessage):
    """A message whose body no client of ours has written."""

    odd = b""
    odd_headers: Mapping[str, Any] = MappingProxyType({})

    def body(self) -> bytes:
        return self.odd or super().body()

    def headers(self) -> dict[str, Any]:
        return {**super().headers(), **self.odd_headers}


def odd_messages() -> list[TaskMessage]:
    bodies = [
        b"not JSON",
        b"[" * 100_000,
        b"7",
        b"[]",
        b"[[],{},{}]",
        b"[[5],{},{}]",
        b"[[null],{},{}]",
        b'[["no id"],{},{}]',
        b'[["a","b"],{},{}]',
        b'[[],{"task_id":"x"},{}]',
        b"\xff\xfe",
    ]
    headers = [{"task": "other"}, {"task": 7}, {"task": ["a"]}, {"eta": "never"}, {"expires": {}}, {"timelimit": 7}]
    kinds = [type("Odd", (OddMessage,), {"odd": body}) for body in bodies]
    kinds += [type("Odd", (OddMessage,), {"odd_headers": one}) for one in headers]
    return [kind(topology.INFERENCE, uuid4()) for kind in kinds]


def test_messages_of_strangers_stop_nobody(url: str, vhost: Vhost, workers: Workers) -> None:
    worker = workers.start()
    ask(url, vhost, ["before"])
    publish(vhost, odd_messages())
    ask(url, vhost, ["after"])
    eventually(lambda: all_finished(url))
    assert worker.is_alive()
    stop(worker)
    assert vhost.depth() == 0
    refused = [line for line in workers.logs().splitlines() if "is refused" in line]
    assert len(refused) >= 11
    assert statuses(url) == {"SUCCESS": 2}


def test_a_worker_beats_and_stops_when_it_is_told_to(url: str, vhost: Vhost, workers: Workers, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    worker = workers.start(PLACERANK_WORKER__HEARTBEAT_FILE=str(beat))
    eventually(beat.exists)
    stop(worker)


def test_a_worker_that_is_refused_stays_until_it_is_let_in(url: str, vhost: Vhost, workers: Workers) -> None:
    name, password = f"worker-{uuid4().hex}", "p@ss:/wörd"
    parts = urlsplit(vhost.url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    credentials = {"PLACERANK_BROKER__USER": name, "PLACERANK_BROKER__PASSWORD": password}
    worker = workers.start(CELERY_BROKER_URL=address, **credentials)
    eventually(lambda: "ACCESS_REFUSED" in workers.logs(), 30)
    ask(url, vhost, ["Ann"])
    vhost.add_user(name, password)
    try:
        eventually(lambda: all_finished(url))
        assert worker.is_alive()
        assert workers.logs().count("ACCESS_REFUSED") == 1
        assert "Traceback" not in workers.logs()
    finally:
        vhost.remove_user(name)
