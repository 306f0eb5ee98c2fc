"""Liveness, readiness and the front page."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.db.migrations import HEAD
from placerank.errors import DatabaseUnavailable
from placerank.schema.traveller import example_lines

if TYPE_CHECKING:
    from placerank.cache.ports import ApiCache
    from placerank.db.pool import AsyncDatabase
    from placerank.queue.publisher import Publisher


def router(database: AsyncDatabase, publisher: Publisher, cache: ApiCache) -> APIRouter:
    """The routes of health and the front page."""
    routes = APIRouter(tags=["health"])
    page = (files("placerank.web") / "index.html").read_text(encoding="utf-8").replace("TRAVELLER", example_lines())

    @routes.get("/healthz/live", **documentation.HEALTH)
    async def live() -> Response:
        """Answer 200 while this process runs."""
        return replies.rendered({"status": "ok"})

    @routes.get("/healthz/ready", **documentation.READY)
    async def ready() -> Response:
        """Answer 200 if the database is reachable and migrated, else 503; broker and cache are only reported."""
        database_state = await _database_state(database)
        body = {
            "status": "ok" if database_state == "ok" else "unready",
            "database": database_state,
            "broker": "ok" if publisher.connected else "away",
            "cache": "ok" if await cache.alive() else "away",
        }
        if database_state == "ok":
            return replies.rendered(body)
        return replies.rendered(body, 503, {"Retry-After": "1"})

    @routes.get("/", include_in_schema=False)
    async def front() -> Response:
        return HTMLResponse(page)

    return routes


async def _database_state(database: AsyncDatabase) -> str:
    try:
        revision = await database.schema_revision()
    except DatabaseUnavailable:
        return "away"
    return "ok" if revision >= HEAD else f"at schema {revision or 'none'}, needs {HEAD}: run placerank migrate"
