"""Finds or starts PostgreSQL, RabbitMQ and Redis for tests, benchmarks and ``make run-services``.

For each service: an address in the environment, else an installed server started privately, else Docker, else (where
allowed) a Debian package. Needs only the standard library, and psycopg and the project's definitions to start services.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from . import postgresql, rabbitmq, sources
from .errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from .private import Private
    from .running import Running

__all__ = ["NAMES", "ServiceUnavailable", "Services", "start"]

NAMES = tuple(sources.KINDS)


class Services:
    """The services' addresses, and control of the services that were started here. Closing ends those."""

    def __init__(self, running: Mapping[str, Running]) -> None:
        self._running = running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database_url(self) -> str:
        """PostgreSQL's address."""
        return self._of("postgresql").url

    @property
    def broker_url(self) -> str:
        """RabbitMQ's address."""
        return self._of("rabbitmq").url

    @property
    def cache_url(self) -> str:
        """Redis's address."""
        return self._of("redis").url

    @property
    def management_url(self) -> str | None:
        """The address of RabbitMQ's management interface, credentials included, where it is known."""
        return self._of("rabbitmq").management_url

    def environment(self) -> dict[str, str]:
        """The addresses under the names that the project reads."""
        return {sources.KINDS[name].variable: running.url for name, running in self._running.items()}

    def create_database(self, name: str) -> str:
        """Makes an empty database; returns its address."""
        return postgresql.create_database(self.database_url, name)

    def create_vhost(self, name: str) -> str:
        """Makes a virtual host with the project's queues; returns the broker's address with it."""
        return rabbitmq.create_vhost(self.broker_url, self.management_url, name)

    def owned(self, name: str) -> bool:
        """Whether the service was started here and can be stopped and paused."""
        return self._of(name).owned

    def stop(self, name: str) -> None:
        """Shuts a service down; its address and data are kept."""
        self._process(name).stop()

    def kill(self, name: str) -> None:
        """Kills a service's processes; its address and the data that it had written are kept."""
        self._process(name).kill()

    def start(self, name: str) -> None:
        """Starts a stopped service again, at the same address with the same data."""
        self._process(name).start(self._of(name).ready, threading.Event())

    def pause(self, name: str) -> None:
        """Suspends every process of a service (SIGSTOP): nothing answers, but connections stay open."""
        self._process(name).pause()

    def resume(self, name: str) -> None:
        """Resumes a paused service."""
        self._process(name).resume()

    def pids(self, name: str) -> list[int]:
        """All living processes of a service that was started here, else none."""
        return self._process(name).pids() if self.owned(name) else []

    def root_pid(self, name: str) -> int | None:
        """The ancestor of all of a service's processes, if the service was started here."""
        return self._process(name).keeper_pid if self.owned(name) else None

    def close(self) -> None:
        """Ends every service that was started here, all at once."""
        _close(self._running)

    def _of(self, name: str) -> Running:
        if name not in self._running:
            raise ServiceUnavailable(f"{name} was not requested: name it in the call of start().")
        return self._running[name]

    def _process(self, name: str) -> Private:
        running = self._of(name)
        if running.process is None or not running.owned:
            variable = sources.KINDS[name].variable
            raise ServiceUnavailable(f"{name} was not started here: unset {variable} to have a private one.")
        return running.process


def start(names: Sequence[str] = NAMES, *, install: bool) -> Services:
    """Finds or starts the named services, all at once; ``install`` allows Debian packages to be installed."""
    start_up = _StartUp(sources.starters(names, install=install))
    try:
        start_up.run()
    except BaseException:
        _close(start_up.running)
        raise
    return Services(start_up.running)


class _StartUp:
    """Starts services, each in its own thread."""

    def __init__(self, starters: Mapping[str, sources.Starter]) -> None:
        self._starters = starters
        self._cancelled = threading.Event()
        self._failures: list[BaseException] = []
        self.running: dict[str, Running] = {}

    def run(self) -> None:
        """Returns when all services run; raises the first failure, after the other threads have ended."""
        with ThreadPoolExecutor(len(self._starters)) as pool:
            try:
                list(pool.map(self._begin, self._starters))
            finally:
                self._cancelled.set()  # on Ctrl-C the threads stop waiting; otherwise they are done by now
        if self._failures:
            raise self._failures[0]

    def _begin(self, name: str) -> None:
        try:
            self.running[name] = self._starters[name](self._cancelled)
        except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
            self._failures.append(failure)
            self._cancelled.set()


def _close(running: Mapping[str, Running]) -> None:
    processes = [each.process for each in running.values() if each.process]
    with ThreadPoolExecutor(max(len(processes), 1)) as pool:
        list(pool.map(lambda process: process.close(), processes))
