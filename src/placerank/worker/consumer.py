"""What placerank adds to Celery's consumer: heartbeats, quick reconnects, and acks that leave at once."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Any, ClassVar

from amqp.exceptions import AccessRefused, NotAllowed
from celery import bootsteps
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import maybe_shutdown

from placerank.worker.heartbeat import EVERY_S

if TYPE_CHECKING:
    from placerank.worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)

#: For these kombu would not try again, and the worker would end.
_REFUSALS = (AccessRefused, NotAllowed)
_DELAYED = "delayed_delivery"
_FIRST_PAUSE_S = 0.2
_LONGER_BY_S = 0.4
_LONGEST_PAUSE_S = 2.0


class Waker:
    """Wakes the worker's event loop from other threads.

    Acknowledgements of the threads pool are queued for the loop, which would else look at them only when the next
    event comes: a lone message would stay unacknowledged for seconds.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._woken = False

    def wake(self) -> None:
        """Make the loop turn once; never blocks. Those that come before it has turned share one byte."""
        if not self._woken:
            self._woken = True
            self._writer.send(b"\0")

    def attach(self, hub: Any) -> None:
        """Have this loop woken from now on."""
        hub.add_reader(self._reader, self._drain)

    def _drain(self) -> None:
        # First the mark, then the bytes: who comes in between writes one more, and nobody is missed.
        self._woken = False
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return


class Request(CeleryRequest):  # type: ignore[misc]
    """A request whose acknowledgement wakes the loop that has to send it."""

    def acknowledge(self) -> None:
        """Acknowledge, and have that sent now."""
        super().acknowledge()
        self.app.placerank_waker.wake()

    def reject(self, requeue: bool = False) -> None:
        """Reject, and have that sent now."""
        super().reject(requeue)
        self.app.placerank_waker.wake()


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """A consumer that looks for a lost broker every two seconds, and lives while it looks."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Celery's steps without its queues for tasks of later: nothing here is delayed, and they are 28."""

        default_steps: ClassVar = [step for step in CeleryConsumer.Blueprint.default_steps if _DELAYED not in step]

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes; a broker that refuses the password may be given another one yet."""
        while True:
            try:
                connected = conn.ensure_connection(
                    self._on_failure,
                    None,
                    interval_start=_FIRST_PAUSE_S,
                    interval_step=_LONGER_BY_S,
                    interval_max=_LONGEST_PAUSE_S,
                    callback=self._while_waiting,
                )
            except _REFUSALS as error:
                self._on_failure(error, _LONGEST_PAUSE_S)
                time.sleep(_LONGEST_PAUSE_S)
                continue
            self.first_connection_attempt = False
            self.broker_connection_retry_attempt = 0
            return connected

    def _on_failure(self, error: BaseException, interval: float) -> None:  # noqa: ARG002
        if self.broker_connection_retry_attempt == 0:
            log.warning("broker: no connection, trying on: %s", error)
        self.broker_connection_retry_attempt += 1
        self._while_waiting()

    def _while_waiting(self) -> None:
        # An outage of the broker is no reason to restart a fleet of workers.
        self.app.placerank_heartbeat.beat()
        maybe_shutdown()


class Beat(bootsteps.StartStopStep):  # type: ignore[misc]
    """Beats from the consumer's own loop, anew after each reconnect: a loop that stands still stops beating."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Begin to beat, and to be woken by acknowledgements."""
        heartbeat: Heartbeat = parent.app.placerank_heartbeat
        heartbeat.beat()
        parent.timer.call_repeatedly(EVERY_S, heartbeat.beat)
        if parent.hub is not None:
            parent.app.placerank_waker.attach(parent.hub)
