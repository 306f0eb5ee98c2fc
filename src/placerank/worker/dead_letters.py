"""Dead letters: messages of tasks that failed, kept for operators to inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Exchange

from placerank.queue import message, topology
from placerank.telemetry.metrics import DEAD_LETTERS

if TYPE_CHECKING:
    from celery import Celery

    from placerank.queue.message import TaskMessage


class DeadLetters:
    """Publishes to the dead-letter exchange, with publisher confirms."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._exchange = Exchange(topology.DEAD_LETTER_EXCHANGE, type="topic", durable=True, passive=False)

    def publish(self, task: TaskMessage, reason: str) -> None:
        """Publish this task's message; returns once the broker has it. Raises kombu's errors if none is reachable."""
        headers: dict[str, Any] = {**task.headers(), "x-placerank-reason": reason}
        with self._app.producer_or_acquire() as producer:
            producer.publish(
                task.body(),
                exchange=self._exchange,
                routing_key=task.queue.name,
                headers=headers,
                correlation_id=str(task.task_id),
                content_type=message.CONTENT_TYPE,
                content_encoding=message.CONTENT_ENCODING,
                delivery_mode=message.PERSISTENT,
                serializer=None,
                retry=True,
                retry_policy={"max_retries": 3, "interval_start": 0.1},
            )
        DEAD_LETTERS.labels(task.queue.name, reason).inc()
