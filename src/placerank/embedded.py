"""Embedded mode: everything in one process and one folder, for a first run, a laptop or a test.

It differs from the cluster only in the broker and the cache, which are in memory, and in the bundled PostgreSQL.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from placerank import runtime
from placerank.api.app import create_app
from placerank.api.server import check_port, end_quietly_when_told, serve
from placerank.cache.memory import MemoryCache
from placerank.db.migrate import migrate
from placerank.errors import PlacerankError
from placerank.postgres.bundled import BundledPostgres
from placerank.postgres.keeper import PostgresKeeper
from placerank.supervision.threads import Background

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from fastapi import FastAPI

    from placerank.config.settings import Settings
    from placerank.db.catalogue import CatalogueRepository
    from placerank.runtime import RelayRuntime
    from placerank.worker.process import WorkerThread

log = logging.getLogger(__name__)

DEMO_PLACES = 210
DEMO_SEED = 7


def run(
    settings: Settings, data_dir: Path, prepare: Callable[[CatalogueRepository], None], ready: Callable[[int], None]
) -> int:
    """Serve until Ctrl-C; ``prepare`` may fill the catalogue first, ``ready`` gets the port. Returns the exit code."""
    check_port(settings.api.host, settings.api.port)
    end_quietly_when_told()
    # Loading torch takes longer than everything else: it happens while the database starts.
    loading = Background("load torch", _load_torch)
    with ExitStack() as stack:
        server = stack.enter_context(BundledPostgres(data_dir))
        migrate(server.url)
        settings = _embedded(settings, server.url)
        prepare(runtime.catalogue(settings))
        loading.wait()
        # Only now: before, the end of the server fails what it is needed for, and so the start.
        stack.enter_context(PostgresKeeper(server))
        return _serve(settings, stack, ready)


def demo_rows() -> list[tuple[object, ...]]:
    """Made-up places, as rows for the catalogue."""
    from dataclasses import astuple

    from placerank.demo import synthetic

    return [astuple(place) for place in synthetic.places(DEMO_PLACES, DEMO_SEED)]


def _serve(settings: Settings, stack: ExitStack, ready: Callable[[int], None]) -> int:
    from placerank.queue.memory import MemoryPublisher
    from placerank.worker.process import WorkerThread, inference_work, training_work

    cache, publisher = MemoryCache(), MemoryPublisher()
    workers = runtime.worker_runtime(settings, cache=cache)
    stack.callback(workers.close)
    threads = [WorkerThread(inference_work(workers)), WorkerThread(training_work(workers))]
    for thread in threads:
        thread.start()
    # Stopped in parallel: each takes a second or two, until Celery's own threads have ended.
    stack.callback(_stop_all, threads)
    app = create_app(runtime.api_runtime(settings, cache=cache, publisher=publisher))
    _relay_along(app, runtime.relay_runtime(settings, publisher=publisher))
    return serve(app, settings.api.host, settings.api.port, ready)


def _stop_all(threads: Sequence[WorkerThread]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda thread: thread.stop(), threads))


def _relay_along(app: FastAPI, relaying: RelayRuntime) -> None:
    """Run the relay on the API's event loop. The broker starts empty, so all unfinished work is published again."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app), relaying.opened(broker_is_empty=True):
            yield

    app.router.lifespan_context = lifespan


def _embedded(settings: Settings, database_url: str) -> Settings:
    from pydantic import SecretStr

    return settings.model_copy(
        update={
            "database_url": SecretStr(database_url),
            "broker_url": SecretStr("memory://"),
            "backend_url": SecretStr("memory://"),
        }
    )


def _load_torch() -> None:
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        raise PlacerankError(f"torch cannot be loaded ({error}): install placerank[embedded] again.") from None
