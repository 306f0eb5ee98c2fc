"""What placerank adds to Celery's consumer: heartbeats and quick reconnects."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from amqp.exceptions import AccessRefused, NotAllowed
from celery import bootsteps
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import ContentDisallowed, DecodeError

from placerank.telemetry.metrics import RECORDS_REFUSED
from placerank.worker.heartbeat import EVERY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from placerank.worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)

#: Kombu does not retry after these errors, and the worker would end.
_REFUSALS = (AccessRefused, NotAllowed)
#: What an odd message raises, in our check or in Celery's reading of its headers.
_ODD = (ValueError, TypeError, LookupError, AttributeError, RecursionError, DecodeError, ContentDisallowed)
_DELAYED = "delayed_delivery"
_FIRST_PAUSE_S = 0.2
_LONGER_BY_S = 0.4
_LONGEST_PAUSE_S = 2.0


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """A consumer that tries to reach a lost broker every two seconds, and sends heartbeats meanwhile."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Celery's steps without its 28 queues for delayed tasks: no task here is delayed."""

        default_steps: ClassVar = [step for step in CeleryConsumer.Blueprint.default_steps if _DELAYED not in step]

    def create_task_handler(self, *arguments: Any, **named: Any) -> Callable[[Any], Any]:
        """Celery's handler behind a check: an odd message ends there, and not the worker's loop."""
        handle = super().create_task_handler(*arguments, **named)

        def checked(message: Any) -> Any:
            try:
                _check(message)
                return handle(message)
            except _ODD as error:
                if message.acknowledged:
                    raise
                _refuse(message, error)
                return None

        return checked

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes. Refused credentials are tried again, because they may still be corrected."""
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
            log.warning("broker: no connection, retrying: %s", error)
        self.broker_connection_retry_attempt += 1
        self._while_waiting()

    def _while_waiting(self) -> None:
        # Without heartbeats, an outage of the broker would restart all workers.
        self.app.placerank_heartbeat.beat()
        maybe_shutdown()


def _check(message: Any) -> None:
    """Raises ValueError unless the body is that of ``queue.message``: one task's id."""
    body = message.payload
    if not isinstance(body, list) or len(body) != 3 or not all(isinstance(one, dict) for one in body[1:]):
        raise ValueError("its body is not that of a task")
    if not isinstance(body[0], list) or len(body[0]) != 1 or not isinstance(body[0][0], str) or body[1]:
        raise ValueError("its arguments are not one task's id")
    UUID(body[0][0])


def _refuse(message: Any, error: Exception) -> None:
    RECORDS_REFUSED.labels("message").inc()
    text = " ".join(str(error).split())
    log.error("broker: a message on %s is refused: %.200s", message.delivery_info.get("routing_key"), text)
    # The queue's policy sends it to the dead letters, where placerank dead-letters lists it.
    message.reject(requeue=False)


class Beat(bootsteps.StartStopStep):  # type: ignore[misc]
    """Sends heartbeats from the consumer's own loop, also after each reconnect. If the loop hangs, they stop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Start the heartbeats."""
        heartbeat: Heartbeat = parent.app.placerank_heartbeat
        heartbeat.beat()
        parent.timer.call_repeatedly(EVERY_S, heartbeat.beat)
