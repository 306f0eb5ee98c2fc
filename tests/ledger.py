"""Records what clients were told about inferences, and compares it with what PostgreSQL stores.

``Ledger`` keeps the record: pass replies to ``heard``, or note them by hand. ``Ledger.check`` reads the rows through a
function that runs SQL, and returns a ``Verdict``: violations and counts.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import httpx
import psycopg
from tests.verdict import Rules, Stored, Told, Verdict, What, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

#: Runs a query and returns its rows. psycopg returns values and psql returns text, so every query here selects text.
Ask: TypeAlias = "Callable[[str], Iterable[Sequence[Any]]]"

#: Ids per query. On Kubernetes its rows, about 600 bytes each, pass through ``kubectl exec``.
_IDS_A_QUERY = 2_000
_INFERENCES = """
SELECT json_build_object(
    'id', i.id, 'status', i.status, 'ended', i.finished_at IS NOT NULL, 'attempts', i.attempts,
    'model_version', i.model_version, 'choice', i.choice,
    'location_ids', coalesce(to_json(i.location_ids), '[]'), 'scores', coalesce(to_json(i.scores), '[]'),
    'lengths', json_build_array(cardinality(i.revisions), cardinality(i.propensities)),
    'events', (
        SELECT coalesce(json_agg(json_build_array(e.kind, e.location_id) ORDER BY e.id), '[]')
        FROM events AS e WHERE e.task_id = i.id
    )
)::text
FROM inferences AS i
"""
_COUNT_FINISHES = """
CREATE TABLE finishes (task_id uuid NOT NULL);
CREATE FUNCTION count_finish() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN INSERT INTO finishes VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER finishes AFTER UPDATE OF status, scores, finished_at ON inferences FOR EACH ROW
WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION count_finish();
"""
_COUNT_NO_MORE = """
DROP TRIGGER IF EXISTS finishes ON inferences;
DROP FUNCTION IF EXISTS count_finish;
DROP TABLE IF EXISTS finishes;
"""


class Ledger:
    """What each client was told, in order. A client sends a request only after the reply to its last one.

    All clients that select places have to use the same ledger: other selections in the event log are violations.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._accepted: dict[str, None] = {}
        self.failures: list[str] = []
        self.erasures = 0

    @property
    def accepted(self) -> list[str]:
        """The ids of accepted inferences, in the order of their first replies."""
        with self._lock:
            return list(self._accepted)

    @property
    def told(self) -> list[Told]:
        with self._lock:
            return list(self._told)

    @property
    def refusals(self) -> list[Told]:
        return [one for one in self.told if one.what is What.REFUSED]

    def include(self, other: Ledger) -> None:
        """Add the entries of another ledger after those of this one."""
        for one in other.told:
            self.note(one)
        self.failures += other.failures
        self.erasures += other.erasures

    def note(self, told: Told) -> None:
        """Add an entry."""
        with self._lock:
            self._told.append(told)
            if told.what is What.ACCEPTED:
                self._accepted.setdefault(told.task_id)

    def accept(self, client: str, task_id: str) -> None:
        """A start was accepted."""
        self.note(Told(client, task_id, What.ACCEPTED))

    def status(self, client: str, task_id: str, status: str, model_version: str | None = None) -> None:
        """A status was told."""
        self.note(Told(client, task_id, What.STATUS, status, model_version))

    def result(
        self,
        client: str,
        task_id: str,
        places: Iterable[tuple[int, float]],
        model_version: str | None = None,
        *,
        whole: bool = True,
    ) -> None:
        """A result was read: (location id, score) of its places, best first; not ``whole`` if a limit cut them."""
        self.note(Told(client, task_id, What.RESULT, "SUCCESS", model_version, tuple(places), whole))

    def selecting(self, client: str, task_id: str, location_id: int) -> None:
        """A selection is about to be sent. Until it is acknowledged or refused, it may be stored or not."""
        self.note(Told(client, task_id, What.SELECTING, location_id=location_id))

    def selected(self, client: str, task_id: str, location_id: int) -> None:
        """A selection was acknowledged."""
        self.note(Told(client, task_id, What.SELECTED, "SUCCESS", location_id=location_id))

    def cancelling(self, client: str, task_id: str) -> None:
        """A cancel is about to be sent."""
        self.note(Told(client, task_id, What.CANCELLING))

    def cancelled(self, client: str, task_id: str, status: str) -> None:
        """A cancel was acknowledged, with this status."""
        self.note(Told(client, task_id, What.CANCELLED, status))

    def refused(
        self, client: str, reason: str, task_id: str = "", *, status: str = "", location_id: int | None = None
    ) -> None:
        """A request was refused. ``status`` is the task's status that this implies; ``location_id`` is a selection that
        was certainly not stored."""
        self.note(Told(client, task_id, What.REFUSED, status, location_id=location_id, reason=reason))

    def failed(self, client: str, reason: str) -> None:
        """A request failed in a way that its client did not expect."""
        self.failures.append(f"{client}: {reason}")

    def asking(self, client: str, request: httpx.Request) -> None:
        """Note a selection or a cancel before it is sent."""
        match request.method, *request.url.path.strip("/").split("/"):
            case "PUT", "inference", "select":
                task_id, location_id = _selection(request)
                if task_id and location_id is not None:
                    self.selecting(client, task_id, location_id)
            case "DELETE", "inference", given if task_id := _uuid(given):
                self.cancelling(client, task_id)

    def heard(self, client: str, reply: httpx.Response) -> None:
        """Note a reply whose body has been read. Replies of other routes than ``/inference`` are ignored."""
        route = reply.request.method, *reply.request.url.path.strip("/").split("/")
        if reply.is_success:
            self._heard_success(client, route, reply)
        elif route[1] == "inference":
            self._heard_refusal(client, route, reply)

    def _heard_success(self, client: str, route: tuple[str, ...], reply: httpx.Response) -> None:
        match route:
            case "POST", "inference", "start":
                self._heard_start(client, reply.json())
            case "GET", "inference", "status", _:
                body = reply.json()
                self.status(client, _uuid(body["task_id"]), body["status"], body.get("model_version"))
            case "GET", "inference", "results", task_id:
                whole, version = "limit" not in reply.request.url.params, reply.headers.get("model-version")
                self.result(client, _uuid(task_id), _places(reply.json()), version, whole=whole)
            case "PUT", "inference", "select":
                body = reply.json()
                self.selected(client, _uuid(body["task_id"]), body["location_id"])
            case "DELETE", "inference", task_id:
                self.cancelled(client, _uuid(task_id), reply.json()["status"])
            case "DELETE", "content", "user", _:
                self.erasures += 1

    def _heard_start(self, client: str, body: Mapping[str, Any]) -> None:
        task_id = _uuid(body["task_id"])
        self.accept(client, task_id)
        self.status(client, task_id, body["status"], body.get("model_version"))
        if "results" in body:
            self.result(client, task_id, _places(body["results"]), body.get("model_version"))

    def _heard_refusal(self, client: str, route: tuple[str, ...], reply: httpx.Response) -> None:
        task_id, location_id = _selection(reply.request) if route[-1] == "select" else (_uuid(route[-1]), None)
        code, not_stored = _code(reply), location_id if reply.is_client_error else None
        status = "PENDING" if code == "not_finished" else ""
        self.refused(client, f"{reply.status_code} {code}", task_id, status=status, location_id=not_stored)

    def wait_until_finished(self, ask: Ask, within_s: float, *, every_s: float = 0.2) -> bool:
        """Wait for all accepted inferences; returns whether none is unfinished."""
        deadline = time.monotonic() + within_s
        while _unfinished(ask, self.accepted):
            if time.monotonic() > deadline:
                return False
            time.sleep(every_s)
        return True

    def check(self, ask: Ask, rules: Rules | None = None, *, finishes_counted: bool = False) -> Verdict:
        """Compare the record with the present rows; ``finishes_counted`` needs ``counting_finishes`` around it."""
        told, rules = self.told, rules or Rules()
        stored = read(ask, list(dict.fromkeys(one.task_id for one in told if one.task_id)))
        finishes = _finishes(ask) if finishes_counted else None
        return verify(told, stored, replace(rules, may_be_gone=rules.may_be_gone or self.erasures > 0), finishes)


def connection(url: str) -> Ask:
    """Runs each query on a new connection to this PostgreSQL."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as found:
            return found.execute(query.encode()).fetchall()

    return ask


@contextmanager
def counting_finishes(url: str) -> Iterator[None]:
    """Inside the context, a trigger adds a row to the table ``finishes`` whenever an inference is finished."""
    with psycopg.connect(url, autocommit=True) as found:
        found.execute(_COUNT_FINISHES.encode())
    try:
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as found:
            found.execute(_COUNT_NO_MORE.encode())


def read(ask: Ask, task_ids: Sequence[str]) -> dict[str, Stored]:
    """The stored inferences with these ids, by id."""
    found = (json.loads(row[0]) for condition in _conditions(task_ids) for row in ask(f"{_INFERENCES} {condition}"))
    return {row["id"]: Stored.of(row) for row in found}


def _unfinished(ask: Ask, task_ids: Sequence[str]) -> bool:
    query = "SELECT count(*)::text FROM inferences AS i {} AND i.finished_at IS NULL"
    return any(int(row[0]) for condition in _conditions(task_ids) for row in ask(query.format(condition)))


def _finishes(ask: Ask) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in ask("SELECT task_id::text, count(*)::text FROM finishes GROUP BY task_id")}


def _conditions(task_ids: Sequence[str]) -> Iterator[str]:
    """WHERE clauses with at most ``_IDS_A_QUERY`` ids. Ids are parsed as UUIDs, so nothing else gets into the SQL."""
    for first in range(0, len(task_ids), _IDS_A_QUERY):
        ids = ",".join(str(UUID(task_id)) for task_id in task_ids[first : first + _IDS_A_QUERY])
        yield f"WHERE i.id = ANY('{{{ids}}}'::uuid[])"


def _uuid(text: object) -> str:
    """The id as PostgreSQL writes it; empty if it is malformed."""
    try:
        return str(UUID(str(text)))
    except ValueError:
        return ""


def _places(body: Iterable[Mapping[str, Any]]) -> list[tuple[int, float]]:
    return [(place["location_id"], place["score"]) for place in body]


def _selection(request: httpx.Request) -> tuple[str, int | None]:
    """The task id and the place in the body of a selection; empty and none if the body is malformed."""
    try:
        body = json.loads(request.content)
        task_id, location_id = _uuid(body["task_id"]), body["location_id"]
    except (ValueError, LookupError, TypeError, RecursionError, httpx.RequestNotRead):
        return "", None
    return task_id, location_id if isinstance(location_id, int) else None


def _code(reply: httpx.Response) -> str:
    """The code of a problem reply; empty if the reply is not a problem."""
    try:
        return str(reply.json()["code"])
    except (ValueError, LookupError, TypeError):
        return ""
