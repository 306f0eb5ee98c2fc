"""Keeps the bundled PostgreSQL running: a server that ends by itself is started again, at the same address."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

from placerank.postgres.account import BundledPostgresError
from placerank.supervision.failures import Failures
from placerank.supervision.intensity import Intensity
from placerank.supervision.threads import SupervisedThread
from placerank.telemetry.metrics import POSTGRES_RESTARTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from placerank.postgres.bundled import BundledPostgres

log = logging.getLogger(__name__)

#: The first restart is immediate, as every request fails meanwhile.
INTENSITY: Final = Intensity(restarts=3, within_s=60.0, pauses_s=(0.0, 0.5, 1.0))
_LOOK_EVERY_S: Final = 1.0


class PostgresKeeper:
    """Watches over a started server, from entering to leaving; leaving stops the server."""

    def __init__(self, server: BundledPostgres, escalate: Callable[[str], None] | None = None) -> None:
        """``escalate`` gets a sentence when the server cannot be kept running; by default it ends the process."""
        self._server = server
        self._watchdogs = Failures("PostgreSQL watchdog", Intensity(), escalate)
        self._thread = SupervisedThread(
            "bundled PostgreSQL", self._keep, end=server.stop, intensity=INTENSITY, escalate=escalate
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.stop()

    def _keep(self) -> None:
        if not self._server.running:
            self._server.restart()
            POSTGRES_RESTARTS.inc()
            log.warning("postgres: the server was started again")
        while not self._server.stopped:
            if (code := self._server.wait(_LOOK_EVERY_S)) is not None:
                raise BundledPostgresError(
                    f"The server ended by itself ({_described(code)}); its log: {self._server.log}"
                )
            self._server.end_if_leaving()
            if self._server.renew_watchdog():
                self._watchdogs.add(BundledPostgresError("The watchdog has ended; there is a new one."))


def _described(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
