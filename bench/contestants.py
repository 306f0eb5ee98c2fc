"""The contestants of placerank, started on the same services: a plain FastAPI and Celery build, and LitServe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psycopg
from bench.closed_loop import ROOT, Server, free_port, opened

from placerank.config import addresses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STARTS_WITHIN_S: Final = 90.0
_PLAIN_DATABASE: Final = "placerank_bench_plain"
_PLAIN_CACHE: Final = "/1"
_SERVICES: Final = ("postgresql", "rabbitmq", "redis")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that is stopped (SIGSTOP) outside its turn: idle LitServe processes use half a core."""

    server: Server
    groups: tuple[int, ...] = ()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Lets the server run inside the context."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for group in self.groups:
            os.killpg(group, number)


@contextmanager
def plain(ours: Server) -> Iterator[Contestant]:
    """The plain FastAPI and Celery build: one API process, and one worker process per core."""
    with ExitStack() as stack:
        environment = stack.enter_context(_plain_addresses(ours.addresses))
        port = free_port()
        api = stack.enter_context(
            _process(
                ["uvicorn", "bench.plain.app:app", "--port", str(port), "--no-access-log", "--log-level", "warning"],
                environment,
            )
        )
        worker = ["celery", "-A", "bench.plain.tasks", "worker", "-c", str(os.cpu_count()), "-l", "WARNING"]
        inference = stack.enter_context(_process(worker, environment))
        services = {name: root for name, root in ours.roots.items() if name in _SERVICES}
        server = Server(f"http://127.0.0.1:{port}", {"api": api, "inference": inference, **services})
        _wait_for(f"{server.url}/openapi.json")
        yield Contestant(server, (api, inference))


@contextmanager
def litserve() -> Iterator[Contestant]:
    """LitServe with one worker. It only ranks; it stores nothing."""
    port = free_port()
    with _process(["bench.litserve_app", str(port)], {}) as pid:
        server = Server(f"http://127.0.0.1:{port}", {"api": pid})
        _wait_for(f"{server.url}/health")
        yield Contestant(server, (pid,))


@contextmanager
def _plain_addresses(ours: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Addresses for the plain build: its own database, another Redis database number, the same broker."""
    database = addresses.postgresql(ours["DATABASE_URL"])
    drop = f"DROP DATABASE IF EXISTS {_PLAIN_DATABASE} WITH (FORCE)".encode()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(f"CREATE DATABASE {_PLAIN_DATABASE}".encode())
        try:
            yield {
                "DATABASE_URL": urlsplit(database)._replace(path=f"/{_PLAIN_DATABASE}").geturl(),
                "CELERY_BROKER_URL": ours["CELERY_BROKER_URL"],
                "CELERY_BACKEND_URL": urlsplit(ours["CELERY_BACKEND_URL"])._replace(path=_PLAIN_CACHE).geturl(),
            }
        finally:
            connection.execute(drop)


@contextmanager
def _process(module: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    """Runs a Python module in its own process group and kills the whole group: LitServe leaves children behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            with opened(url, timeout_s=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{url} does not answer.")
