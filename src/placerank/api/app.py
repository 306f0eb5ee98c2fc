"""Builds the FastAPI app from the parts that the runtime provides."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from placerank import __version__
from placerank.api.backlog import Backlog
from placerank.api.middleware import access, metering
from placerank.api.middleware.express import Express
from placerank.api.middleware.limits import ConcurrencyLimit, Slots
from placerank.api.middleware.observed import Observed
from placerank.api.replies import problems
from placerank.api.routes import content, health, inference, registry, train
from placerank.api.tracker import Tracker
from placerank.db.content import ContentRepository
from placerank.db.inferences import InferenceRepository
from placerank.db.models import ModelRepository
from placerank.db.trainings import TrainingRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from placerank.runtime import ApiRuntime


def create_app(runtime: ApiRuntime) -> FastAPI:
    """Build the app; its lifespan opens and closes the runtime's connections."""
    inferences = InferenceRepository(runtime.database)
    tracker = Tracker(runtime.cache, inferences)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with runtime.opened(tracker.finished):
            yield

    app = FastAPI(
        title="placerank",
        version=__version__,
        summary="Ranks every place in the catalogue for a traveller.",
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI checks on every request whether telemetry is configured. That takes as long as a reply from memory.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        license_info={"name": "MIT"},
    )
    app.state.end_waits = tracker.end_waits
    problems.install(app)
    options = runtime.options
    # An admin key is valid wherever a client key is.
    clients = access.checks([*options.keys, *options.admin_keys] if options.keys else [])
    asked = inference.router(_desk(runtime, inferences, tracker))
    app.include_router(asked, dependencies=access.guard(clients))
    _add_routes(app, runtime)
    slots = Slots(options.max_concurrency)
    app.add_middleware(ConcurrencyLimit, slots=slots)
    metering.install(app)
    app.add_middleware(Express, router=asked, checks=clients, slots=slots)
    app.add_middleware(Observed, most=options.max_concurrency)
    return app


def _desk(runtime: ApiRuntime, inferences: InferenceRepository, tracker: Tracker) -> inference.Desk:
    options = runtime.options
    return inference.Desk(
        inferences=inferences,
        cache=runtime.cache,
        tracker=tracker,
        outbox=runtime.outbox,
        backlog=Backlog(inferences, options.backlog_limit),
        max_body_bytes=options.max_body_bytes,
        deadline_s=options.deadline_s,
    )


def _add_routes(app: FastAPI, runtime: ApiRuntime) -> None:
    options = runtime.options
    stored = ContentRepository(runtime.database)
    admins = access.guard(access.checks(options.admin_keys, known=options.keys))
    app.include_router(
        train.router(train.TrainingDesk(TrainingRepository(runtime.database), runtime.outbox, options.max_body_bytes)),
        dependencies=admins,
    )
    app.include_router(
        content.router(content.ContentDesk(stored, runtime.catalogue, runtime.cache, options.max_bulk_bytes)),
        dependencies=admins,
    )
    registered = registry.router(stored, ModelRepository(runtime.database), options.max_body_bytes)
    app.include_router(registered, dependencies=admins)
    app.include_router(health.router(runtime.database, runtime.publisher, runtime.cache))
