"""The composition root: it reads the settings and builds the objects that the processes work with.

Nothing here loads torch or Celery: the API must stay small.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placerank.cache.probe import RedisProbe
from placerank.cache.redis import RedisApiCache, RedisWorkerCache, refused
from placerank.config import keys
from placerank.db.catalogue import CatalogueRepository
from placerank.db.migrate import lacking
from placerank.db.pool import AsyncDatabase, Database
from placerank.db.system import SystemRepository
from placerank.overview.overseer import Overseer
from placerank.overview.sampler import Sampler
from placerank.queue import check
from placerank.queue.outbox import Outbox
from placerank.queue.publisher import AmqpPublisher
from placerank.queue.relay import Relay
from placerank.rollout.canary import Rules
from placerank.rollout.desk import CanaryRepository
from placerank.rollout.watch import CanaryWatch
from placerank.supervision.tasks import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from placerank.cache.ports import ApiCache, Listener, WorkerCache
    from placerank.config.settings import Settings
    from placerank.queue.publisher import Publisher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The settings that the API needs."""

    max_body_bytes: int
    max_bulk_bytes: int
    max_concurrency: int
    backlog_limit: int
    deadline_s: float | None
    keys: tuple[str, ...]
    admin_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApiRuntime:
    """What the API works with."""

    database: AsyncDatabase
    catalogue: CatalogueRepository
    cache: ApiCache
    publisher: Publisher
    outbox: Outbox
    options: ApiOptions

    @asynccontextmanager
    async def opened(self, listener: Listener) -> AsyncIterator[None]:
        """Open everything without waiting for it, so that the API starts even if its services are unreachable."""
        await self.database.open()
        await self.cache.open(listener)
        await self.publisher.open()
        await self.outbox.open()
        try:
            yield
        finally:
            await self.outbox.close()
            await self.publisher.close()
            await self.cache.close()
            await self.database.close()


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The settings that workers need."""

    answer_size: int
    batch_size: int
    threads: int
    device: str
    torch_threads: int
    refresh_s: float
    heartbeat_file: Path | None
    min_lists: int
    max_lists: int
    lease_s: float
    exploration: float
    canary: Rules


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """What a worker works with."""

    database: Database
    cache: WorkerCache
    broker_url: str
    options: WorkerOptions
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class RelayRuntime:
    """What the relay works with."""

    database: AsyncDatabase
    publisher: Publisher
    relay: Relay
    check_broker: Callable[[], None]
    watch: CanaryWatch
    sampler: Sampler

    @asynccontextmanager
    async def opened(self, *, broker_is_empty: bool = False) -> AsyncIterator[None]:
        """Run the relay, the canary's watch and the sampler. What the broker lacks is logged.

        Nothing is waited for, unless the broker is known to be empty: then all unfinished work is published again.
        """
        await self.database.open()
        await self.publisher.open()
        checking = asyncio.ensure_future(asyncio.to_thread(self.check_broker))
        parts = [
            SupervisedTask("relay", self.relay.run),
            SupervisedTask("canary watch", self.watch.run),
            SupervisedTask("sampler", self.sampler.run),
        ]
        try:
            if broker_is_empty:
                await self.relay.forget_published()
            for part in parts:
                part.start()
            yield
        finally:
            for part in parts:
                await part.stop()
            await checking
            await self.publisher.close()
            await self.database.close()


def api_runtime(settings: Settings, *, cache: ApiCache | None = None, publisher: Publisher | None = None) -> ApiRuntime:
    """The API's parts; embedded mode brings its own cache and publisher."""
    database = async_database(settings, "placerank api")
    publisher = publisher or AmqpPublisher(settings.broker_url.get_secret_value())
    return ApiRuntime(
        database=database,
        catalogue=catalogue(settings),
        cache=cache or api_cache(settings),
        publisher=publisher,
        outbox=Outbox(publisher, database),
        options=ApiOptions(
            max_body_bytes=settings.api.max_body_bytes,
            max_bulk_bytes=settings.api.max_bulk_bytes,
            max_concurrency=settings.api.max_concurrency,
            backlog_limit=settings.inference.backlog_limit,
            deadline_s=settings.inference.deadline_s,
            keys=keys.split(settings.api.keys.get_secret_value()),
            admin_keys=keys.split(settings.api.admin_keys.get_secret_value()),
        ),
    )


def relay_runtime(settings: Settings, *, publisher: Publisher | None = None) -> RelayRuntime:
    """The relay's parts."""
    database = async_database(settings, "placerank relay", pool_size=3)
    publisher = publisher or AmqpPublisher(settings.broker_url.get_secret_value())
    relay = Relay(
        database,
        publisher,
        interval_s=settings.relay.interval_s,
        grace_s=settings.relay.grace_s,
        lost_after_s=settings.relay.lost_after_s,
        batch=settings.relay.batch,
    )
    watch = CanaryWatch(CanaryRepository(database), _canary_rules(settings), interval_s=settings.canary.interval_s)
    sampler = _sampler(settings, database, publisher)
    return RelayRuntime(database, publisher, relay, lambda: _check_broker(settings), watch, sampler)


def addresses_of(settings: Settings) -> tuple[str, str, str, str]:
    """The addresses of database, broker, cache and the broker's management API, for checks."""
    found = (settings.database_url, settings.broker_url, settings.backend_url, settings.broker.management_url)
    return tuple(url.get_secret_value() for url in found)  # type: ignore[return-value]


@asynccontextmanager
async def overseer(settings: Settings) -> AsyncIterator[Overseer]:
    """The overseer, for commands; its connections open without waiting."""
    database = async_database(settings, "placerank status", pool_size=1)
    publisher = AmqpPublisher(settings.broker_url.get_secret_value())
    probe = RedisProbe(settings.backend_url.get_secret_value(), timeout_s=settings.cache.timeout_s)
    await database.open()
    await publisher.open()
    try:
        yield Overseer(SystemRepository(database), publisher, probe.look)
    finally:
        await publisher.close()
        await database.close()


def _sampler(settings: Settings, database: AsyncDatabase, publisher: Publisher) -> Sampler:
    management_url = settings.broker.management_url.get_secret_value()
    broker_url, cache_url = settings.broker_url.get_secret_value(), settings.backend_url.get_secret_value()

    def unacknowledged() -> dict[str, int]:
        return check.unacknowledged(management_url, broker_url) if management_url else {}

    async def no_cache() -> None:
        """Embedded mode has no Redis."""

    in_memory = cache_url.startswith("memory:")
    probe = no_cache if in_memory else RedisProbe(cache_url, timeout_s=settings.cache.timeout_s).look
    return Sampler(SystemRepository(database), publisher, probe, unacknowledged, interval_s=settings.telemetry.sample_s)


def worker_runtime(settings: Settings, *, cache: WorkerCache | None = None) -> WorkerRuntime:
    """A worker's parts, its database open; embedded mode brings its own cache."""
    database = Database(
        settings.database_url.get_secret_value(),
        application_name="placerank worker",
        pool_size=settings.database.pool_size,
    )
    database.open()
    opened = ExitStack()
    opened.callback(database.close)
    if cache is None:
        cache = redis = RedisWorkerCache(
            settings.backend_url.get_secret_value(), ttl_s=settings.cache.ttl_s, timeout_s=settings.cache.timeout_s
        )
        opened.callback(redis.close)
    return WorkerRuntime(
        database=database,
        cache=cache,
        broker_url=settings.broker_url.get_secret_value(),
        options=_worker_options(settings),
        close=opened.close,
    )


def _worker_options(settings: Settings) -> WorkerOptions:
    return WorkerOptions(
        answer_size=settings.inference.answer_size,
        batch_size=settings.worker.batch_size,
        threads=settings.worker.threads,
        device=settings.worker.device,
        torch_threads=settings.worker.torch_threads,
        refresh_s=settings.worker.refresh_s,
        heartbeat_file=settings.worker.heartbeat_file,
        min_lists=settings.training.min_lists,
        max_lists=settings.training.max_lists,
        lease_s=settings.training.lease_s,
        exploration=settings.inference.exploration,
        canary=_canary_rules(settings),
    )


def _canary_rules(settings: Settings) -> Rules:
    return Rules(
        shares=tuple(int(share) for share in settings.canary.shares.split(",")),
        step_s=settings.canary.step_s,
        least_answers=settings.canary.least_answers,
    )


def api_cache(settings: Settings) -> RedisApiCache:
    """Redis as the API sees it, not opened yet."""
    return RedisApiCache(
        settings.backend_url.get_secret_value(), ttl_s=settings.cache.ttl_s, timeout_s=settings.cache.timeout_s
    )


def obstacles(settings: Settings) -> list[str]:
    """What keeps processes from starting, one sentence each: no migrated database, or refused credentials.

    An unreachable broker or cache is no obstacle: the processes start without it and reconnect by themselves.
    """
    found = [
        ("DATABASE_URL", lacking(settings.database_url.get_secret_value())),
        ("CELERY_BROKER_URL", check.refused(settings.broker_url.get_secret_value())),
        ("CELERY_BACKEND_URL", refused(settings.backend_url.get_secret_value())),
    ]
    return [f"{variable}: {sentence}" for variable, sentence in found if sentence]


def catalogue(settings: Settings) -> CatalogueRepository:
    """The catalogue, for changes."""
    return CatalogueRepository(settings.database_url.get_secret_value())


def async_database(settings: Settings, application_name: str, pool_size: int | None = None) -> AsyncDatabase:
    """PostgreSQL for an event loop, not opened yet."""
    return AsyncDatabase(
        settings.database_url.get_secret_value(),
        application_name=application_name,
        pool_size=pool_size or settings.database.pool_size,
        timeout_s=settings.database.timeout_s,
    )


def _check_broker(settings: Settings) -> None:
    management_url = settings.broker.management_url.get_secret_value()
    if not management_url:
        return
    try:
        for sentence in check.missing(management_url, settings.broker_url.get_secret_value()):
            log.error("broker: %s", sentence)
    except check.BrokerNotChecked as error:
        log.warning("broker: the definitions were not checked: %s", error)
    except Exception:
        # The check runs beside the relay, which does not need it.
        log.exception("broker: the definitions were not checked")
