"""Services and processes go away and come back, and nothing is lost, nothing is done twice, nothing needs a restart."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

AT_ONCE_S = 2.0
#: What a test machine under load may add to a bound that the API keeps by a clock of its own.
SLACK_S = 0.5
UNKNOWN = UUID(int=7)


@pytest.fixture(autouse=True)
def own_services(whole_cluster: Cluster) -> None:
    """Only what was started here may be taken away."""
    names = ("postgresql", "rabbitmq", "redis")
    if foreign := [name for name in names if not whole_cluster.services.owned(name)]:
        pytest.skip(f"{', '.join(foreign)} is not ours to stop")


@pytest.fixture(scope="module")
def _two_workers(whole_cluster: Cluster) -> Iterator[None]:
    """A second inference worker beside the first, for the tests of this module."""
    whole_cluster.start_worker("second inference")
    yield
    if "second inference" in whole_cluster.processes:
        whole_cluster.stop("second inference")


@pytest.fixture
def unharmed(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, of which no process was started anew, and which works as before when the test has ended."""
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
    """A service is stopped; it comes back in the end, if the test has not brought it back itself."""
    cluster.services.stop(name)
    try:
        yield
    finally:
        cluster.services.start(name)


@contextmanager
def paused(cluster: Cluster, name: str) -> Iterator[None]:
    """A service hangs: its connections stay open and nothing answers."""
    cluster.services.pause(name)
    try:
        yield
    finally:
        cluster.services.resume(name)


@contextmanager
def counted(cluster: Cluster) -> Iterator[dict[UUID, int]]:
    """How often each inference was finished, as the database itself counts it."""
    found: dict[UUID, int] = {}
    cluster.rows("CREATE TABLE finishes (task_id uuid NOT NULL)")
    try:
        cluster.rows(
            """
            CREATE FUNCTION count_finish() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO finishes VALUES (NEW.id); RETURN NULL; END'
            """
        )
        cluster.rows(
            """
            CREATE TRIGGER finishes AFTER UPDATE OF status, scores, finished_at ON inferences FOR EACH ROW
            WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION count_finish()
            """
        )
        yield found
        rows = cluster.rows("SELECT task_id, count(*) AS times FROM finishes GROUP BY task_id")
        found.update({row["task_id"]: row["times"] for row in rows})
    finally:
        cluster.rows("DROP TRIGGER IF EXISTS finishes ON inferences")
        cluster.rows("DROP FUNCTION IF EXISTS count_finish")
        cluster.rows("DROP TABLE finishes")


def start_many(cluster: Cluster, count: int) -> list[UUID]:
    with ThreadPoolExecutor(16) as pool:
        return [UUID(task_id) for task_id in pool.map(lambda _: cluster.api.start(), range(count))]


def finish_all(cluster: Cluster, task_ids: list[UUID], within_s: float = 60.0) -> None:
    """Each of them comes to a good end, stored whole and once."""

    def unfinished() -> list[object]:
        return list(cluster.rows("SELECT id FROM inferences WHERE id = ANY(%s) AND finished_at IS NULL", task_ids))

    eventually(lambda: not unfinished(), within_s, every_s=0.2)
    rows = cluster.rows("SELECT id, status, cardinality(scores) AS n FROM inferences WHERE id = ANY(%s)", task_ids)
    assert {row["id"] for row in rows} == set(task_ids)
    assert {(row["status"], row["n"]) for row in rows} == {("SUCCESS", 10)}
    # Where a worker died between storing and telling, it takes the API a moment to look for itself.
    assert {cluster.api.finished(str(task_id))["status"] for task_id in task_ids} == {"SUCCESS"}


@pytest.mark.usefixtures("_two_workers")
def test_without_rabbitmq_starts_are_taken_and_run_once_it_is_back(unharmed: Cluster) -> None:
    """Two relays and two workers share what was waiting."""
    api = unharmed.api
    unharmed.start("second relay", "relay")
    with counted(unharmed) as finishes:
        with away(unharmed, "rabbitmq"):
            task_ids = []
            for _ in range(3):
                with within(AT_ONCE_S):
                    task_ids.append(UUID(api.start()))
            with within(AT_ONCE_S):
                trained = api.http.post("/train/start", json={"max_lists": 2}).json()["task_id"]
            task_ids += start_many(unharmed, 100)
            ready = eventually(lambda: api.http.get("/healthz/ready"))
            assert ready.status_code == 200
            assert ready.json()["broker"] != "ok"
            assert api.status(str(task_ids[0]))["status"] == "PENDING"
        finish_all(unharmed, task_ids)
        assert api.finished(trained, 60, kind="train")["status"] == "FAILURE"
    assert [finishes.get(task_id) for task_id in task_ids] == [1] * len(task_ids)
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
    """Every route that needs the database, with a body where it takes one."""
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
        # All at once is no slower: nothing queues behind what hangs.
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
    # A commit that was under way when the server was paused may have gone through; nothing else may.
    after = api.info()
    assert after["locations"] - before["locations"] in ({0} if how is away else {0, 1})
    api.http.delete("/content/location/900100")


@pytest.mark.usefixtures("_two_workers")
def test_a_killed_worker_loses_nothing(cluster: Cluster) -> None:
    """What it had taken goes to the other one."""
    workers = [psutil.Process(cluster.processes[name].pid) for name in ("inference", "second inference")]
    with counted(cluster) as finishes:
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        task_ids = start_many(cluster, 150)
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        # In the middle of its work, if it can be caught there.
        eventually(lambda: cluster.rows("SELECT 1 FROM finishes LIMIT 1"), every_s=0.001)
        cluster.kill("inference")
        cluster.processes["inference"] = cluster.processes.pop("second inference")
        task_ids += start_many(cluster, 20)
        finish_all(cluster, task_ids, 90)
    assert [finishes.get(task_id) for task_id in task_ids] == [1] * len(task_ids)


def test_a_killed_api_loses_nothing_that_was_committed(cluster: Cluster) -> None:
    """The broker hangs, so that nothing of what is committed can be confirmed before the API dies."""
    cluster.api.answer()
    with counted(cluster) as finishes:
        with paused(cluster, "rabbitmq"):
            with within(AT_ONCE_S):
                cluster.api.start()
            task_ids = start_many(cluster, 60)
            key, body = {"Idempotency-Key": str(uuid4())}, traveller()
            task_ids.append(UUID(cluster.api.start(body, **key)))
            cluster.kill("api")
        cluster.start_api()
        cluster.wait_until_ready()
        assert UUID(cluster.api.start(body, **key)) == task_ids[-1]
        finish_all(cluster, task_ids)
    assert [finishes.get(task_id) for task_id in task_ids] == [1] * len(task_ids)
