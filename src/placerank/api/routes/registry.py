"""``/models``: versions, metrics and shares of the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from placerank.api.replies import documentation
from placerank.api.replies import rendered as replies
from placerank.api.requests import bodies
from placerank.api.routes.content import Paged
from placerank.db import models
from placerank.db.content import Page
from placerank.schema.types import INT8_MAX

if TYPE_CHECKING:
    from placerank.db.content import ContentRepository
    from placerank.db.models import ModelRepository

ModelId = Annotated[int, Path(ge=0, le=INT8_MAX)]

_EVERY_VERSION = Page(limit=10_000, after=-1)


def router(content: ContentRepository, registry: ModelRepository, max_body_bytes: int) -> APIRouter:
    """The ``/models`` routes."""
    routes = APIRouter(prefix="/models", tags=["models"])

    @routes.get("", **documentation.MODELS)
    async def list_models(part: Paged) -> Response:
        """Every version, with its metrics and its share of the travellers."""
        return replies.rendered([models.describe(row) for row in await content.page("list_models", part)])

    @routes.put("/{model_id}/share", **documentation.PUT_SHARE)
    async def put_share(request: Request, model_id: ModelId) -> Response:
        """Set a version's share of the travellers, in per cent; the others change so that the total stays 100."""
        wanted = bodies.parse(bodies.share, await bodies.read_body(request, max_body_bytes))
        await registry.set_share(model_id, wanted.share)
        rows = await content.page("list_models", _EVERY_VERSION)
        return replies.rendered(
            [{name: models.describe(row)[name] for name in ("id", "version", "share")} for row in rows]
        )

    return routes
