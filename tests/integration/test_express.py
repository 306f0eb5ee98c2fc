"""Routes that are answered before FastAPI reply exactly as FastAPI itself would, for any request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient
from tests.acceptance.harness import traveller
from tests.integration import support
from tests.integration.support import shown, store, thread_database, with_places

from placerank import runtime
from placerank.api.app import create_app
from placerank.cache.memory import MemoryCache
from placerank.config import settings
from placerank.db.jobs import JobRepository, Outcome
from placerank.domain import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from httpx import Response

UNKNOWN = "01890000-0000-7000-8000-000000000000"
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class BothWays:
    """A client that sends each request twice: normally, and below a root path, which only FastAPI serves."""

    def __init__(self, ahead: AsyncClient, behind: AsyncClient) -> None:
        self.ahead = ahead
        self._behind = behind

    async def same(self, method: str, path: str, **request: Any) -> Response:
        """The reply, after checking that both ways give the same, except for new ids and dates."""
        ahead, behind = [await way.request(method, path, **request) for way in (self.ahead, self._behind)]
        assert ahead.status_code == behind.status_code
        assert ahead.headers.multi_items() == behind.headers.multi_items() or _masked(ahead) == _masked(behind)
        assert _ID.sub("ID", ahead.text) == _ID.sub("ID", behind.text)
        return ahead


def _masked(reply: Response) -> list[tuple[str, str]]:
    return [(name, _ID.sub("ID", value)) for name, value in reply.headers.multi_items() if name != "x-request-id"]


@pytest.fixture(params=["", "for-clients"])
async def both(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    monkeypatch.setenv("DATABASE_URL", with_places(database_url))
    monkeypatch.setenv("CELERY_BROKER_URL", "pyamqp://127.0.0.1:9//")
    headers = {}
    if request.param:
        monkeypatch.setenv("PLACERANK_API__KEYS", request.param)
        monkeypatch.setenv("PLACERANK_API__ADMIN_KEYS", "for-admins")
        headers = {"Authorization": f"Bearer {request.param}"}
    app = create_app(runtime.api_runtime(settings.load(), cache=MemoryCache()))
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://placerank", headers=headers) as ahead,
        AsyncClient(
            transport=ASGITransport(app, root_path="/below"), base_url="http://placerank/below", headers=headers
        ) as behind,
    ):
        yield BothWays(ahead, behind)


@pytest.fixture
def ended(database_url: str) -> dict[str, UUID]:
    """One task of each status: pending, succeeded, failed."""
    pending, succeeded, failed = store(with_places(database_url), [support.start_of(name) for name in "abc"])
    database = thread_database(database_url)
    try:
        problem = Problem("inference_failed", "The inference failed.")
        JobRepository(database).finish([Outcome(succeeded, shown=shown()), Outcome(failed, problem=problem)])
    finally:
        database.close()
    return {"pending": pending, "succeeded": succeeded, "failed": failed}


async def test_starts_agree(both: BothWays) -> None:
    for headers in ({}, {"Prefer": "respond-async"}, {"Prefer": "wait=0"}, {"Prefer": "nonsense;;,=,"}):
        reply = await both.same("POST", "/inference/start", json=traveller(), headers=headers)
        assert reply.json()["status"] == "PENDING"
    for body in (b"", b"[", b"{}", b"\xff", b'{"name": 1}', b"x" * 70_000):
        reply = await both.same("POST", "/inference/start", content=body)
        assert reply.status_code in {400, 413, 422}
    assert (await both.same("POST", "/inference/start?deadline=-1", json=traveller())).status_code == 422
    keyed = {"Idempotency-Key": "x" * 256}
    assert (await both.same("POST", "/inference/start", json=traveller(), headers=keyed)).status_code == 422
    keyed = {"Idempotency-Key": "one"}
    asked = traveller()
    first = await both.ahead.post("/inference/start", json=asked, headers=keyed)
    again = await both.same("POST", "/inference/start", json=asked, headers=keyed)
    assert again.json()["task_id"] == first.json()["task_id"]
    assert (await both.same("POST", "/inference/start", json=traveller(), headers=keyed)).status_code == 422


async def test_reads_agree(both: BothWays, ended: dict[str, UUID]) -> None:
    for task_id in [*ended.values(), UNKNOWN, "nonsense", "%0a", "a%2Fb"]:
        for route in ("status", "results"):
            await both.same("GET", f"/inference/{route}/{task_id}")
    assert (await both.same("GET", f"/inference/status/{ended['pending']}?wait=x")).status_code == 422
    assert (await both.same("GET", f"/inference/results/{ended['succeeded']}?limit=0")).status_code == 422
    assert len((await both.same("GET", f"/inference/results/{ended['succeeded']}?limit=2")).json()) == 2


async def test_selections_and_cancellations_agree(both: BothWays, ended: dict[str, UUID]) -> None:
    for path in ("/inference/select", "/inference/select/"):
        for task_id in [*map(str, ended.values()), UNKNOWN, "nonsense"]:
            for place in (-1, 1, 19, None):
                await both.same("PUT", path, json={"task_id": task_id, "location_id": place})
    for task_id in (str(ended["succeeded"]), str(ended["failed"]), UNKNOWN, "start"):
        await both.same("DELETE", f"/inference/{task_id}")
    assert (await both.same("DELETE", f"/inference/{ended['pending']}")).json()["status"] == "REVOKED"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_what_is_no_route_of_these_agrees(both: BothWays, method: str) -> None:
    for path in (
        "/inference",
        "/inference/",
        "/inference/start",
        "/inference/status/",
        f"/inference/status/{UNKNOWN}/x",
    ):
        await both.same(method, path)
    await both.same(method, "/inference/select/x")


async def test_keys_agree(both: BothWays) -> None:
    for key in ("for-admins", "wrong", ""):
        await both.same("GET", f"/inference/status/{UNKNOWN}", headers={"Authorization": f"Bearer {key}"})


async def test_both_ways_are_counted_under_the_route(both: BothWays) -> None:
    counted = 'http_requests_total{handler="/inference/status/{task_id}",method="GET",status="404"}'

    async def count() -> float:
        lines = (await both.ahead.get("/metrics")).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(counted)), 0.0)

    before = await count()
    await both.same("GET", f"/inference/status/{UNKNOWN}")
    assert await count() == before + 2
