"""The Celery tasks: thin, so that acknowledgements, retries and signals stay Celery's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.exceptions import Reject

from placerank.domain import Problem
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.worker.consumer import Request
from placerank.worker.inference import Delivery, Stopping, TooManyAttempts

if TYPE_CHECKING:
    from celery import Celery

    from placerank.worker.batcher import MicroBatcher
    from placerank.worker.dead_letters import DeadLetters
    from placerank.worker.inference import InferenceBatch
    from placerank.worker.training import TrainingRun

log = logging.getLogger(__name__)

_KILLER = Problem("too_many_attempts", "The inference ended its worker each time that it ran.")
_FAILED = Problem("inference_failed", "The inference failed; the worker's log says why.")


def add_inference_task(
    app: Celery, batcher: MicroBatcher[Delivery, None], batch: InferenceBatch, letters: DeadLetters
) -> None:
    """The task behind the inference queue."""

    def give_up(task_id: UUID, problem: Problem) -> None:
        # The letter first: a death in between brings the message back, and the row still says that it is unfinished.
        letters.publish(TaskMessage(topology.INFERENCE, task_id), problem.code)
        batch.fail(task_id, problem)

    @app.task(name=topology.INFERENCE.task, bind=True, Request=Request)
    def rank(self: Any, task_id: str) -> None:
        """Rank every place for the traveller of this inference."""
        inference, redelivered = UUID(task_id), bool(self.request.delivery_info.get("redelivered"))
        try:
            batcher.submit(Delivery(inference, redelivered), alone=redelivered).result()
        except Stopping as error:
            raise Reject(error, requeue=True) from error
        except TooManyAttempts:
            log.error("inference %s: %s", inference, _KILLER.detail)  # noqa: TRY400 - there is no trace of a death
            give_up(inference, _KILLER)
        except Exception:
            log.exception("inference %s failed", inference)
            give_up(inference, _FAILED)


def add_training_task(app: Celery, training: TrainingRun) -> None:
    """The task behind the training queue."""

    @app.task(name=topology.TRAINING.task, Request=Request)
    def train(task_id: str) -> None:
        """Learn from what was shown and chosen, and register the version that comes of it."""
        try:
            training.run(UUID(task_id))
        except Stopping as error:
            raise Reject(error, requeue=True) from error
