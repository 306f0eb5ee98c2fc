"""The Celery tasks: thin, so that acknowledgements, retries and signals stay Celery's."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.exceptions import Reject

from placerank.domain import Problem
from placerank.queue import topology
from placerank.queue.message import TaskMessage
from placerank.telemetry import logs, tracing
from placerank.worker.consumer import Request
from placerank.worker.inference.batch import Delivery, Stopping, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from placerank.queue.topology import WorkQueue
    from placerank.worker.batcher import MicroBatcher
    from placerank.worker.dead_letters import DeadLetters
    from placerank.worker.inference.batch import InferenceBatch
    from placerank.worker.training.run import TrainingRun

log = logging.getLogger(__name__)

_KILLER = Problem("too_many_attempts", "It ended its worker each time that it ran.")
_INFERENCE_FAILED = Problem("inference_failed", "The inference failed; the worker's log says why.")
_TRAINING_FAILED = Problem("training_failed", "The training failed; the worker's log says why.")


def add_inference_task(
    app: Celery, batcher: MicroBatcher[Delivery, None], batch: InferenceBatch, letters: DeadLetters
) -> None:
    """The task behind the inference queue."""

    @app.task(name=topology.INFERENCE.task, bind=True, Request=Request)
    def rank(self: Any, task_id: str) -> None:
        """Rank every place for the traveller of this inference."""
        redelivered = bool(self.request.delivery_info.get("redelivered"))
        message = _message(topology.INFERENCE, task_id, self.request)
        with _ending(message, letters, batch.fail, _INFERENCE_FAILED):
            delivery = Delivery(message.task_id, redelivered, message.traceparent, message.request_id)
            batcher.submit(delivery, alone=redelivered).result()


def add_training_task(app: Celery, training: TrainingRun, letters: DeadLetters) -> None:
    """The task behind the training queue."""

    @app.task(name=topology.TRAINING.task, bind=True, Request=Request)
    def train(self: Any, task_id: str) -> None:
        """Learn from what was shown and chosen, and register the version that comes of it."""
        message = _message(topology.TRAINING, task_id, self.request)
        began_ns = tracing.now_ns()
        with _ending(message, letters, training.fail, _TRAINING_FAILED):
            training.run(message.task_id)
        tracing.shared("train", "consumer", [message.traceparent], began_ns)


def _message(queue: WorkQueue, task_id: str, request: Any) -> TaskMessage:
    """The message that this task came with; what is logged on this thread from now on is about it."""
    traceparent, request_id = request.get("traceparent"), request.get("request_id")
    if not isinstance(traceparent, str) or not tracing.TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    if not isinstance(request_id, str):
        request_id = None
    logs.begin(logs.about(task_id, request_id=request_id, traceparent=traceparent))
    return TaskMessage(queue, UUID(task_id), traceparent, request_id)


@contextmanager
def _ending(
    message: TaskMessage, letters: DeadLetters, fail: Callable[[UUID, Problem], None], failed: Problem
) -> Iterator[None]:
    """A task that fails, or kills, becomes a dead letter and a failed row; one that is interrupted goes back."""
    try:
        yield
    except Stopping as error:
        raise Reject(error, requeue=True) from error
    except TooManyAttempts:
        log.error("%s %s: %s", message.queue.task, message.task_id, _KILLER.detail)  # noqa: TRY400 - no trace of a death
        _give_up(message, letters, fail, _KILLER)
    except Exception:
        log.exception("%s %s failed", message.queue.task, message.task_id)
        _give_up(message, letters, fail, failed)


def _give_up(
    message: TaskMessage, letters: DeadLetters, fail: Callable[[UUID, Problem], None], problem: Problem
) -> None:
    # The letter first: a death in between brings the message back, and the row still says that it is unfinished.
    try:
        letters.publish(message, problem.code)
        fail(message.task_id, problem)
    except Exception as error:
        # Without the letter there is no end yet: acknowledged now, the task would be nobody's.
        log.warning("%s %s goes back: %s", message.queue.task, message.task_id, error)
        raise Reject(error, requeue=True) from error
