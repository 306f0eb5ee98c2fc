"""Services and processes fail and come back: nothing is lost, nothing is applied twice, nothing needs a restart."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psutil
import pytest
from tests.acceptance.harness import Cluster, eventually, place, problem, traveller, within
from tests.ledger import connection, counting_finishes
from tests.verdict import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tests.ledger import Ledger

AT_ONCE_S = 2.0
#: Extra time for a loaded test machine: the API measures its bound on its own clock.
SLACK_S = 0.5
UNKNOWN = UUID(int=7)


@pytest.fixture(autouse=True)
def own_services(whole_cluster: Cluster) -> None:
    """Skip the test unless all services were started by the tests: others must not be stopped."""
    names = ("postgresql", "rabbitmq", "redis")
    if foreign := [name for name in names if not whole_cluster.services.owned(name)]:
        pytest.skip(f"not started here: {', '.join(foreign)}")


@pytest.fixture(scope="module")
def _two_workers(whole_cluster: Cluster) -> Iterator[None]:
    """A second inference worker, for the tests of this module."""
    whole_cluster.start_worker("second inference")
    yield
    if "second inference" in whole_cluster.processes:
        whole_cluster.stop("second inference")


@pytest.fixture
def unharmed(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster. After the test no process was restarted, and all services work again."""
    pids = cluster.pids()
    yield cluster
    assert cluster.pids() == pids
    works_again(cluster)


def works_again(cluster: Cluster) -> None:
    def healthy() -> bool:
        reply = cluster.api.http.get("/healthz/ready")
        return reply.status_code == 200 and {"ok"} == {reply.json()[name] for name in ("database", "broker", "cache")}

    eventually(healthy, 60)
    assert len(cluster.api.answer()["results"]) == 10


@contextmanager
def away(cluster: Cluster, name: str) -> Iterator[None]:
    """Stops a service, and starts it again at the end of the context."""
    cluster.services.stop(name)
    try:
        yield
    finally:
        cluster.services.start(name)


@contextmanager
def paused(cluster: Cluster, name: str) -> Iterator[None]:
    """Pauses a service: its connections stay open, and it does not answer."""
    cluster.services.pause(name)
    try:
        yield
    finally:
        cluster.services.resume(name)


@contextmanager
def done_once(cluster: Cluster, within_s: float = 60.0) -> Iterator[Ledger]:
    """Each inference that is accepted in here has to succeed, and its answer has to be stored whole and once."""
    ask = connection(cluster.database_url)
    with counting_finishes(cluster.database_url), cluster.recorded() as told:
        yield told
        told.wait_until_finished(ask, within_s)
        told.check(ask, Rules(places=10), finishes_counted=True).demand_none()
        # If a worker died after storing and before announcing, the API finds the answer a moment later by itself.
        assert {cluster.api.finished(task_id)["status"] for task_id in told.accepted} == {"SUCCESS"}
        told.check(ask, Rules(places=10), finishes_counted=True).demand_none()


def start_many(cluster: Cluster, count: int) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: cluster.api.start(), range(count)))


@pytest.mark.usefixtures("_two_workers")
def test_without_rabbitmq_starts_are_taken_and_run_once_it_is_back(unharmed: Cluster) -> None:
    """Two relays and two workers share the work that waited."""
    api = unharmed.api
    unharmed.start("second relay", "relay")
    with done_once(unharmed) as told, away(unharmed, "rabbitmq"):
        for _ in range(3):
            with within(AT_ONCE_S):
                api.start()
        with within(AT_ONCE_S):
            trained = api.http.post("/train/start", json={"max_lists": 2}).json()["task_id"]
        start_many(unharmed, 100)
        ready = eventually(lambda: api.http.get("/healthz/ready"))
        assert ready.status_code == 200
        assert ready.json()["broker"] != "ok"
        assert api.status(told.accepted[0])["status"] == "PENDING"
    assert len(told.accepted) == 103
    assert api.finished(trained, 60, kind="train")["status"] == "FAILURE"
    unharmed.stop("second relay")


def test_without_redis_everything_is_answered_from_postgresql(unharmed: Cluster) -> None:
    api, known = unharmed.api, unharmed.api.answer()
    with away(unharmed, "redis"):
        with within(10):
            answered = api.answer()
            assert api.status(answered["task_id"])["status"] == "SUCCESS"
            assert api.results(answered["task_id"]) == answered["results"]
            assert api.results(known["task_id"]) == known["results"]
            assert api.select(answered["task_id"], answered["results"][0]["location_id"]).status_code == 200
            assert api.finished(api.start())["status"] == "SUCCESS"
            assert api.status(api.start(), wait=10)["status"] == "SUCCESS"
        ready = api.http.get("/healthz/ready")
        assert ready.status_code == 200
        assert ready.json()["cache"] != "ok"


def test_with_a_redis_that_hangs_everything_is_answered_from_postgresql(unharmed: Cluster) -> None:
    api, known = unharmed.api, unharmed.api.answer()
    with paused(unharmed, "redis"), within(20):
        answered = api.answer()
        assert api.results(answered["task_id"]) == answered["results"]
        assert api.results(known["task_id"]) == known["results"]
        assert api.select(answered["task_id"], -1).status_code == 200


def routes(task_id: str) -> list[tuple[str, str, object]]:
    """Method, path and body (or none) of every route that needs the database."""
    return [
        ("POST", "/inference/start", traveller()),
        ("GET", f"/inference/status/{UNKNOWN}", None),
        ("GET", f"/inference/results/{UNKNOWN}", None),
        ("PUT", "/inference/select/", {"task_id": task_id, "location_id": -1}),
        ("DELETE", f"/inference/{task_id}", None),
        ("POST", "/train/start", {"max_lists": 2}),
        ("GET", f"/train/status/{UNKNOWN}", None),
        *(("GET", f"/content/{name}", None) for name in ("info", "locations", "users", "events", "models", "datasets")),
        *(("GET", f"/content/{name}/1", None) for name in ("location", "user", "result")),
        ("GET", f"/content/results/{task_id}", None),
        ("PUT", "/content/locations", [place(900_100)]),
        ("DELETE", "/content/location/900100", None),
        ("DELETE", "/content/user/999999999", None),
        ("GET", "/models", None),
        ("PUT", "/models/999999/share", {"share": 1}),
    ]


@pytest.mark.parametrize("how", [away, paused])
def test_without_postgresql_every_route_says_so_at_once(unharmed: Cluster, how: object) -> None:
    api = unharmed.api
    answered = api.answer()
    before = api.info()

    def ask(route: tuple[str, str, object]) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        reply = api.http.request(route[0], route[1], json=route[2])
        return reply, time.monotonic() - began

    manner = away if how is away else paused
    with manner(unharmed, "postgresql"):
        first, took = ask(("POST", "/inference/start", traveller()))
        problem(first, 503, "database_unavailable")
        assert took <= AT_ONCE_S + SLACK_S
        # Concurrent requests are not slower: no request queues behind one that hangs.
        with ThreadPoolExecutor(64) as pool:
            for reply, took in pool.map(ask, routes(answered["task_id"])):
                problem(reply, 503, "database_unavailable")
                assert took <= AT_ONCE_S + SLACK_S, f"{reply.url} took {took:.2f} s"
        unready, took = ask(("GET", "/healthz/ready", None))
        assert unready.status_code == 503
        assert took <= AT_ONCE_S + SLACK_S
        assert api.http.get("/healthz/live").status_code == 200
        assert api.http.get("/metrics").status_code == 200
    eventually(lambda: api.http.post("/inference/start", json=traveller()).status_code == 200, 15)
    works_again(unharmed)
    # A commit that was in flight when the server was paused may have succeeded. Nothing else may be stored.
    after = api.info()
    assert after["locations"] - before["locations"] in ({0} if how is away else {0, 1})
    api.http.delete("/content/location/900100")


@pytest.mark.usefixtures("_two_workers")
def test_a_killed_worker_loses_nothing(cluster: Cluster) -> None:
    """The other worker gets the messages that it had prefetched."""
    workers = [psutil.Process(cluster.processes[name].pid) for name in ("inference", "second inference")]
    with done_once(cluster, 90) as told:
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        start_many(cluster, 150)
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        # Kill it in the middle of its work, if possible.
        eventually(lambda: cluster.rows("SELECT 1 FROM finishes LIMIT 1"), every_s=0.001)
        cluster.kill("inference")
        cluster.processes["inference"] = cluster.processes.pop("second inference")
        start_many(cluster, 20)
    assert len(told.accepted) == 170


def test_a_killed_api_loses_nothing_that_was_committed(cluster: Cluster) -> None:
    """The broker hangs, so that no message is confirmed before the API is killed."""
    cluster.api.answer()
    with done_once(cluster) as told:
        with paused(cluster, "rabbitmq"):
            with within(AT_ONCE_S):
                cluster.api.start()
            start_many(cluster, 60)
            key, body = {"Idempotency-Key": str(uuid4())}, traveller()
            keyed = cluster.api.start(body, **key)
            cluster.kill("api")
        cluster.start_api()
        cluster.wait_until_ready()
        assert cluster.api.start(body, **key) == keyed
    assert len(told.accepted) == 62
