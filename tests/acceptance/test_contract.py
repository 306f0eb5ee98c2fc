"""A foreign client that cannot be changed: it opens a new connection for each call and polls until it reads SUCCESS."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from tests.acceptance.harness import SHOWN_FIELDS, traveller

if TYPE_CHECKING:
    from tests.acceptance.harness import Cluster, Embedded

THREADS = 64
POLL_S = 0.02
PATIENCE_S = 30.0
LIST_LENGTH = 10


class ForeignClient:
    """Knows the paths and the JSON, and nothing of this project's code."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port

    def call(self, method: str, path: str, body: Any = None) -> Any:
        connection = HTTPConnection(self._host, self._port, timeout=PATIENCE_S)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            reply = connection.getresponse()
            text = reply.read()
            assert reply.status == 200, (method, path, reply.status, text)
            assert reply.getheader("content-type", "").startswith("application/json")
            return json.loads(text)
        finally:
            connection.close()

    def loop(self, body: dict[str, Any], rng: random.Random) -> tuple[UUID, int, list[dict[str, Any]]]:
        """Asks, polls, reads and chooses: the task's id, the choice and the list."""
        started = self.call("POST", "/inference/start", body)
        assert started["status"] == "PENDING"
        assert started["type"] == "inference"
        task_id = UUID(started["task_id"])
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.call("GET", f"/inference/status/{task_id}"))["status"] != "SUCCESS":
            assert status["task_id"] == str(task_id)
            assert status["status"] in {"PENDING", "STARTED"}, status
            assert time.monotonic() < deadline, "it is still pending"
            time.sleep(POLL_S)
        shown = self.call("GET", f"/inference/results/{task_id}")
        check(shown)
        choice = rng.choice([-1, *[one["location_id"] for one in shown]])
        recorded = self.call("PUT", "/inference/select/", {"task_id": str(task_id), "location_id": choice})
        assert recorded["location_id"] == choice
        return task_id, choice, shown


def check(shown: Any) -> None:
    """A top-level list of ten places with all fields, best first."""
    assert isinstance(shown, list)
    assert len(shown) == LIST_LENGTH
    assert all(set(one) == SHOWN_FIELDS for one in shown)
    assert len({one["location_id"] for one in shown}) == LIST_LENGTH
    scores = [one["score"] for one in shown]
    assert scores == sorted(scores, reverse=True)
    assert all(isinstance(one["has_pool"], bool) and isinstance(one["price"], float) for one in shown)


@pytest.mark.parametrize(("mode", "seconds"), [("whole_cluster", 8.0), ("embedded", 3.0)])
def test_a_foreign_client_works_from_many_threads(request: pytest.FixtureRequest, mode: str, seconds: float) -> None:
    served: Cluster | Embedded = request.getfixturevalue(mode)
    run, client = f"contract-{uuid4()}", ForeignClient(served.api.url)
    until, began = time.monotonic() + seconds, threading.Barrier(THREADS)

    def work(number: int) -> list[tuple[UUID, int, list[dict[str, Any]]]]:
        rng, loops = random.Random(number), []
        began.wait()
        while time.monotonic() < until:
            body = traveller(name=f"{run}-{number}", budget=rng.uniform(60, 2000), nights=rng.randint(1, 20))
            loops.append(client.loop(body, rng))
        return loops

    with ThreadPoolExecutor(THREADS) as pool:
        done = [loop for loops in pool.map(work, range(THREADS)) for loop in loops]
    print(f"{mode}: {len(done)} loops in {seconds:.0f} s")
    assert len(done) >= THREADS
    assert len({task_id for task_id, _, _ in done}) == len(done)
    _check_stored(served, run, done)


def _check_stored(served: Cluster | Embedded, run: str, done: list[tuple[UUID, int, list[dict[str, Any]]]]) -> None:
    """Each task is there once, finished once, with what was shown and what was chosen; and nothing else is."""
    stored = served.rows(
        """
        SELECT i.id, i.status, i.finished_at, i.location_ids, i.scores, i.choice, i.model_version,
            (SELECT array_agg(e.kind ORDER BY e.id) FROM events AS e WHERE e.task_id = i.id) AS events
        FROM users AS u LEFT JOIN inferences AS i ON i.user_id = u.id
        WHERE u.name LIKE %s
        """,
        f"{run}-%",
    )
    assert len(stored) == len(done)
    by_id = {row["id"]: row for row in stored}
    for task_id, choice, shown in done:
        row = by_id.pop(task_id)
        assert row["status"] == "SUCCESS"
        assert row["finished_at"] is not None
        assert row["model_version"]
        assert row["location_ids"] == [one["location_id"] for one in shown]
        assert row["scores"] == [one["score"] for one in shown]
        assert row["choice"] == choice
        assert row["events"] == ["started", "selected"]
    assert not by_id
