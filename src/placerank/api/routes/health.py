"""Whether this process lives and whether it can serve; and the page for people."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.db.schema import HEAD
from placerank.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from placerank.cache.ports import ApiCache
    from placerank.db.pool import AsyncDatabase
    from placerank.queue.publisher import Publisher


def router(database: AsyncDatabase, publisher: Publisher, cache: ApiCache) -> APIRouter:
    """Health and the front page."""
    routes = APIRouter(tags=["health"])
    page = (files("placerank.web") / "index.html").read_text(encoding="utf-8")

    @routes.get("/healthz/live", **documentation.HEALTH)
    async def live() -> Response:
        """This process answers."""
        return replies.rendered({"status": "ok"})

    @routes.get("/healthz/ready", **documentation.READY)
    async def ready() -> Response:
        """The database is reached and migrated. Broker and cache are told, and never make this process unready."""
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
