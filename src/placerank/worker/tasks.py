"""The Celery tasks. They are thin: Celery handles acknowledgements, retries and signals."""

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
from placerank.worker.deliveries import Delivery, Stopping, TooManyAttempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from placerank.queue.topology import WorkQueue
    from placerank.worker.batcher import MicroBatcher
    from placerank.worker.dead_letters import DeadLetters
    from placerank.worker.inference.batch import InferenceBatch
    from placerank.worker.training.run import TrainingRun

log = logging.getLogger(__name__)

_KILLER = Problem("too_many_attempts", "The worker died in each attempt to run this task.")
_INFERENCE_FAILED = Problem("inference_failed", "The inference failed; the worker's log says why.")
_TRAINING_FAILED = Problem("training_failed", "The training failed; the worker's log says why.")


def add_inference_task(
    app: Celery, batcher: MicroBatcher[Delivery, None], batch: InferenceBatch, letters: DeadLetters
) -> None:
    """The task behind the inference queue."""

    @app.task(name=topology.INFERENCE.task, bind=True)
    def rank(self: Any, task_id: str) -> None:
        """Rank every place for the traveller of this inference."""
        redelivered = bool(self.request.delivery_info.get("redelivered"))
        message = _message(topology.INFERENCE, task_id, self.request)
        with _ending(message, letters, batch.fail, _INFERENCE_FAILED):
            delivery = Delivery(message.task_id, redelivered, message.traceparent, message.request_id)
            batcher.submit(delivery, alone=redelivered).result()


def add_training_task(app: Celery, training: TrainingRun, letters: DeadLetters) -> None:
    """The task behind the training queue."""

    @app.task(name=topology.TRAINING.task, bind=True)
    def train(self: Any, task_id: str) -> None:
        """Train on the shown lists and their choices, and register the new version."""
        message = _message(topology.TRAINING, task_id, self.request)
        began_ns = tracing.now_ns()
        with _ending(message, letters, training.fail, _TRAINING_FAILED):
            training.run(message.task_id)
        tracing.shared("train", "consumer", [message.traceparent], began_ns)


def _message(queue: WorkQueue, task_id: str, request: Any) -> TaskMessage:
    """The message of this task; from now on, log lines of this thread carry its ids."""
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
    """A task that fails or kills its worker becomes a dead letter and a FAILURE; an interrupted one is requeued."""
    try:
        yield
    except Stopping as error:
        raise Reject(error, requeue=True) from error
    except TooManyAttempts:
        log.error("%s %s: %s", message.queue.task, message.task_id, _KILLER.detail)  # noqa: TRY400 - no traceback needed
        _give_up(message, letters, fail, _KILLER)
    except Exception:
        log.exception("%s %s failed", message.queue.task, message.task_id)
        _give_up(message, letters, fail, failed)


def _give_up(
    message: TaskMessage, letters: DeadLetters, fail: Callable[[UUID, Problem], None], problem: Problem
) -> None:
    # The dead letter first: if the worker dies in between, the message is redelivered, and the row is still unfinished.
    try:
        letters.publish(message, problem.code)
        fail(message.task_id, problem)
    except Exception as error:
        # Without a dead letter or a row that has ended, acknowledging the message would lose the task.
        log.warning("%s %s could not be ended, requeued: %s", message.queue.task, message.task_id, error)
        raise Reject(error, requeue=True) from error
