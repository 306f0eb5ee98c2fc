"""An existing client that cannot be changed: a new connection for each call, and polling until it reads SUCCESS."""

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
from tests.ledger import Ledger, connection
from tests.verdict import Rules

if TYPE_CHECKING:
    from tests.acceptance.harness import Cluster, Embedded

THREADS = 64
POLL_S = 0.02
PATIENCE_S = 30.0
LIST_LENGTH = 10


class ForeignClient:
    """Uses only the paths and the JSON, none of this project's code. Every reply is noted in the ledger."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._ledger = ledger

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

    def loop(self, name: str, body: dict[str, Any], rng: random.Random) -> None:
        """Starts, polls, reads and selects."""
        started = self.call("POST", "/inference/start", body)
        assert started["status"] == "PENDING"
        assert started["type"] == "inference"
        task_id = str(UUID(started["task_id"]))
        self._ledger.accept(name, task_id)
        self._poll(name, task_id)
        shown = self.call("GET", f"/inference/results/{task_id}")
        check(shown)
        self._ledger.result(name, task_id, [(one["location_id"], one["score"]) for one in shown])
        choice = rng.choice([-1, *[one["location_id"] for one in shown]])
        self._ledger.selecting(name, task_id, choice)
        recorded = self.call("PUT", "/inference/select/", {"task_id": task_id, "location_id": choice})
        assert recorded["location_id"] == choice
        self._ledger.selected(name, task_id, choice)

    def _poll(self, name: str, task_id: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (status := self._status(name, task_id))["status"] != "SUCCESS":
            assert status["task_id"] == task_id
            assert status["status"] in {"PENDING", "STARTED"}, status
            assert time.monotonic() < deadline, f"{task_id} has not finished in time"
            time.sleep(POLL_S)
        assert status["model_version"]

    def _status(self, name: str, task_id: str) -> Any:
        status = self.call("GET", f"/inference/status/{task_id}")
        self._ledger.status(name, task_id, status["status"], status.get("model_version"))
        return status


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
    run, told = f"contract-{uuid4()}", Ledger()
    client = ForeignClient(served.api.url, told)
    until, began = time.monotonic() + seconds, threading.Barrier(THREADS)

    def work(number: int) -> int:
        rng, loops = random.Random(number), 0
        began.wait()
        while time.monotonic() < until:
            body = traveller(name=f"{run}-{number}", budget=rng.uniform(60, 2000), nights=rng.randint(1, 20))
            client.loop(f"{number}", body, rng)
            loops += 1
        return loops

    with ThreadPoolExecutor(THREADS) as pool:
        done = sum(pool.map(work, range(THREADS)))
    print(f"{mode}: {done} loops in {seconds:.0f} s")
    assert done >= THREADS
    verdict = told.check(connection(served.database_url), Rules(places=LIST_LENGTH)).demand_none()
    assert (verdict.accepted, verdict.finished, verdict.unused) == (done, done, 0)
    # Nothing else is stored: no traveller whose start was not acknowledged, and no other event.
    stored = served.rows(
        """
        SELECT i.id::text, (SELECT count(*) FROM events AS e WHERE e.task_id = i.id) AS events
        FROM users AS u LEFT JOIN inferences AS i ON i.user_id = u.id
        WHERE u.name LIKE %s
        """,
        f"{run}-%",
    )
    assert sorted(row["id"] for row in stored) == sorted(told.accepted)
    assert {row["events"] for row in stored} == {2}
