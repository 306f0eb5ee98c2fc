"""``/content``: lists what is stored, changes the catalogue, and erases travellers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from placerank import errors
from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.api.requests import bodies
from placerank.db import models
from placerank.db.content import Page
from placerank.domain import PLACE_FIELDS
from placerank.schema.types import INT4_MAX, INT8_MAX

if TYPE_CHECKING:
    from placerank.cache.ports import ApiCache
    from placerank.db.catalogue import CatalogueRepository
    from placerank.db.content import ContentRepository

LocationId = Annotated[int, Path(ge=0, le=INT4_MAX)]
RowId = Annotated[int, Path(ge=0, le=INT8_MAX)]
UserId = Annotated[
    str | None, Query(max_length=128, pattern=r"^[^\x00]*$", description="Only starts of this traveller.")
]


def page(
    limit: Annotated[int, Query(ge=1, le=1000, description="How many rows to return.")] = 100,
    after: Annotated[int, Query(ge=-1, le=INT8_MAX, description="Only rows with greater ids.")] = -1,
) -> Page:
    """The page of a list that a request asks for."""
    return Page(limit, after)


Paged = Annotated[Page, Depends(page)]


@dataclass(frozen=True, slots=True)
class ContentDesk:
    """The dependencies of the routes."""

    content: ContentRepository
    catalogue: CatalogueRepository
    cache: ApiCache
    max_bulk_bytes: int


def router(desk: ContentDesk) -> APIRouter:
    """The ``/content`` routes."""
    routes = APIRouter(prefix="/content", tags=["content"])
    _add_lists(routes, desk)
    _add_rows(routes, desk)
    _add_changes(routes, desk)
    return routes


def _add_lists(routes: APIRouter, desk: ContentDesk) -> None:
    @routes.get("/info", **documentation.INFO)
    async def info() -> Response:
        """Row counts, and the version of the catalogue."""
        return replies.rendered(await desk.content.info())

    @routes.get("/locations", **documentation.ROWS)
    async def locations(request: Request, part: Paged) -> Response:
        """The catalogue."""
        return _listed(request, part, await desk.content.page("locations", part), key="location_id")

    @routes.get("/users", **documentation.ROWS)
    async def users(request: Request, part: Paged, user_id: UserId = None) -> Response:
        """The travellers, a row for each start."""
        return _listed(request, part, await desk.content.page("users", part, user_id=user_id))

    @routes.get("/events", **documentation.ROWS)
    async def events(request: Request, part: Paged) -> Response:
        """The event log, oldest first."""
        return _listed(request, part, await desk.content.page("events", part))

    @routes.get("/datasets", **documentation.ROWS)
    async def datasets(request: Request, part: Paged) -> Response:
        """The data sets that models were trained on."""
        return _listed(request, part, await desk.content.page("datasets", part))

    @routes.get("/models", **documentation.ROWS)
    async def versions(request: Request, part: Paged) -> Response:
        """The models, as ``/models`` lists them too."""
        rows = await desk.content.page("list_models", part)
        return _listed(request, part, [models.describe(row) for row in rows])

    @routes.get("/results/{task_id}", **documentation.ROWS_OF_TASK)
    async def results(request: Request, task_id: UUID, part: Paged) -> Response:
        """The places that an inference showed."""
        rows = await desk.content.page("results", part, task_id=task_id)
        if not rows and not await desk.content.task_exists(task_id):
            raise errors.NotFound(f"No inference has the id {task_id}.")
        return _listed(request, part, rows)


def _add_rows(routes: APIRouter, desk: ContentDesk) -> None:
    @routes.get("/location/{location_id}", **documentation.ROW)
    async def location(location_id: LocationId) -> Response:
        """A place; for a removed place its last values."""
        return replies.rendered(_found(await desk.content.one("location", location_id), "place", location_id))

    @routes.get("/user/{row_id}", **documentation.ROW)
    async def user(row_id: RowId) -> Response:
        """A traveller."""
        return replies.rendered(_found(await desk.content.one("user", row_id), "user", row_id))

    @routes.get("/result/{result_id}", **documentation.ROW)
    async def result(result_id: RowId) -> Response:
        """A place that was shown."""
        return replies.rendered(_found(await desk.content.one("result", result_id), "result", result_id))


def _add_changes(routes: APIRouter, desk: ContentDesk) -> None:
    @routes.put("/locations", **documentation.PUT_LOCATIONS)
    async def put_locations(request: Request) -> Response:
        """Add or update places; all or nothing."""
        body = await bodies.read_body(request, desk.max_bulk_bytes)
        await desk.content.reach()
        return replies.rendered(await asyncio.to_thread(_put, desk.catalogue, body))

    @routes.delete("/location/{location_id}", **documentation.ERASE)
    async def delete_location(location_id: LocationId) -> Response:
        """Remove a place; old answers still show it."""
        await desk.content.reach()
        if not await asyncio.to_thread(desk.catalogue.remove, location_id):
            raise errors.NotFound(f"No place has the id {location_id}.")
        return replies.rendered({"removed": 1})

    @routes.delete("/user/{row_id}", **documentation.ERASE)
    async def erase_user(row_id: RowId) -> Response:
        """Erase everything that is stored about this traveller, with all of their starts."""
        counts, task_ids = await desk.content.erase(row_id)
        if not counts["users"]:
            raise errors.NotFound(f"No user has the id {row_id}.")
        await desk.cache.forget(task_ids)
        return replies.rendered({"erased": counts})


def _put(catalogue: CatalogueRepository, body: bytes) -> dict[str, int]:
    places = bodies.parse_places(body)
    seen: dict[int, int] = {}
    for position, place in enumerate(places):
        first = seen.setdefault(place.location_id, position)
        if first != position:
            message = f"repeats the location_id {place.location_id} of entry {first}"
            raise RequestValidationError([{"loc": (position, "location_id"), "msg": message, "type": "value_error"}])
    if not places:
        return {"upserted": 0}
    rows = ((place.location_id, *(getattr(place, name) for name in PLACE_FIELDS)) for place in places)
    return {"upserted": catalogue.put(rows)}


def _listed(request: Request, part: Page, rows: list[dict[str, Any]], key: str = "id") -> Response:
    """A page of a list, with the address of the next page in ``Link`` (RFC 8288)."""
    headers = {}
    if len(rows) == part.limit:
        query = {**request.query_params, "limit": part.limit, "after": rows[-1][key]}
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return replies.rendered(rows, headers=headers)


def _found(row: dict[str, Any] | None, kind: str, row_id: int) -> dict[str, Any]:
    if row is None:
        raise errors.NotFound(f"No {kind} has the id {row_id}.")
    return row
