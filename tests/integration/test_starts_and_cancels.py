"""Starts and cancels over HTTP, where what is stored and what this process believes differ."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from httpx import ASGITransport, AsyncClient
from tests.acceptance.harness import traveller
from tests.integration.support import rows, success, thread_database, with_places

from placerank import runtime
from placerank.api.app import create_app
from placerank.cache.memory import MemoryCache
from placerank.config import settings
from placerank.db.jobs import JobRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@asynccontextmanager
async def client(url: str, patch: pytest.MonkeyPatch, backlog_limit: int = 100) -> AsyncIterator[AsyncClient]:
    """A client of an API without workers."""
    patch.setenv("DATABASE_URL", with_places(url))
    patch.setenv("CELERY_BROKER_URL", "pyamqp://127.0.0.1:9//")
    patch.setenv("PLACERANK_INFERENCE__BACKLOG_LIMIT", str(backlog_limit))
    app = create_app(runtime.api_runtime(settings.load(), cache=MemoryCache()))
    transport = ASGITransport(app)
    async with app.router.lifespan_context(app), AsyncClient(transport=transport, base_url="http://placerank") as http:
        yield http


async def test_an_expired_key_meets_the_backlog_limit_as_a_new_request_does(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(database_url, monkeypatch, backlog_limit=1) as http:
        request: Any = {"json": traveller(), "headers": {"Idempotency-Key": "k"}}
        first = (await http.post("/inference/start", **request)).json()["task_id"]
        rows(database_url, "UPDATE idempotency_keys SET created_at = now() - interval '23 hours 59 minutes'")
        repeated = await http.post("/inference/start", **request)
        assert repeated.json()["task_id"] == first
        rows(database_url, "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 minute'")
        while (refused := await http.post("/inference/start", json=traveller())).status_code != 503:
            assert len(rows(database_url, "SELECT FROM inferences")) < 50
        expired = await http.post("/inference/start", **request)
        assert expired.status_code == 503
        assert expired.json()["code"] == refused.json()["code"]
        assert rows(database_url, "SELECT task_id FROM idempotency_keys") == [{"task_id": UUID(first)}]


async def test_a_cancel_after_the_end_reports_the_end(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(database_url, monkeypatch) as http:
        task_id = (await http.post("/inference/start", json=traveller())).json()["task_id"]
        database = thread_database(database_url)
        try:
            JobRepository(database).finish([success(UUID(task_id))])
        finally:
            database.close()
        assert (await http.delete(f"/inference/{task_id}")).json()["status"] == "SUCCESS"
