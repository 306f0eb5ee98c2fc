"""Builds a worker and its Celery app, and runs it in a process or in a thread."""

from __future__ import annotations

import gc
import logging
import os
import socket
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from celery import signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state

from placerank.db.jobs import JobRepository
from placerank.db.learning import LearningRepository
from placerank.errors import PlacerankError
from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.supervision.failures import EndedByItself
from placerank.supervision.threads import SupervisedThread
from placerank.telemetry.metrics import TASKS_HELD
from placerank.worker.batcher import MicroBatcher
from placerank.worker.consumer import Beat
from placerank.worker.dead_letters import DeadLetters
from placerank.worker.deliveries import Stopping
from placerank.worker.first_model import ensure_first_model
from placerank.worker.heartbeat import Heartbeat
from placerank.worker.inference.batch import InferenceBatch
from placerank.worker.inference.catalogue_rows import catalogue_table
from placerank.worker.inference.exploration import Explorer
from placerank.worker.inference.serving import Serving
from placerank.worker.tasks import add_inference_task, add_training_task
from placerank.worker.training.run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from placerank.queue.topology import WorkQueue
    from placerank.runtime import WorkerRuntime
    from placerank.worker.deliveries import Delivery

log = logging.getLogger(__name__)

_CONSUMER = "placerank.worker.consumer:Consumer"
#: An in-memory broker sends no events, so Celery polls it at these intervals. A training can wait a little.
_POLLING_S = {topology.INFERENCE: 0.005, topology.TRAINING: 0.1}


@dataclass(frozen=True, slots=True)
class Work:
    """A worker's app and queue, and how to start it, to interrupt its waiting and to stop it."""

    app: Celery
    queue: WorkQueue
    threads: int
    start: Callable[[], None]
    interrupt: Callable[[], None]
    stop: Callable[[], None]


def inference_work(runtime: WorkerRuntime) -> Work:
    """A worker for the inference queue."""
    options, app = runtime.options, _app(runtime)
    serving = Serving(runtime.database, device=_device(options.device), refresh_s=options.refresh_s)
    batch = InferenceBatch(
        JobRepository(runtime.database),
        runtime.cache,
        serving,
        explorer=Explorer(options.exploration, options.answer_size),
        moved=lambda: batcher.moved(),
    )
    batcher: MicroBatcher[Delivery, None] = MicroBatcher(
        batch.run,
        most=options.batch_size,
        # The setting applies to the calling thread only. Without it on this thread, OpenMP's idle threads spin.
        on_start=lambda: torch.set_num_threads(options.torch_threads),
        shared=(Stopping,),
        # Their messages go back to the queue; what ended the batch may have been one of them.
        interrupted=lambda: Stopping("the batch was interrupted"),
    )
    app.placerank_heartbeat = Heartbeat(options.heartbeat_file, lambda: batcher.idle_s)
    add_inference_task(app, batcher, batch, DeadLetters(app))

    def start() -> None:
        torch.set_num_threads(options.torch_threads)
        serving.start()
        batcher.start()

    def interrupt() -> None:
        batch.stop()
        serving.stop()

    def stop() -> None:
        interrupt()
        batcher.stop()

    return Work(app, topology.INFERENCE, options.threads, start, interrupt, stop)


def training_work(runtime: WorkerRuntime) -> Work:
    """A worker for the training queue; one training at a time."""
    options, app = runtime.options, _app(runtime)
    training = TrainingRun(
        LearningRepository(runtime.database),
        lambda: catalogue_table(runtime.database),
        lambda: ensure_first_model(runtime.database),
        min_lists=options.min_lists,
        max_lists=options.max_lists,
        lease_s=options.lease_s,
        answer_size=options.answer_size,
        first_share=options.canary.shares[0],
    )
    # A training reports its own progress with its lease, so the heartbeat only covers the consumer.
    app.placerank_heartbeat = Heartbeat(options.heartbeat_file, lambda: 0.0)
    app.conf.worker_prefetch_multiplier = 1
    add_training_task(app, training, DeadLetters(app))
    return Work(app, topology.TRAINING, 1, lambda: None, training.stop, training.stop)


def run(work: Work) -> int:
    """Work until SIGTERM or Ctrl-C; finishes running tasks, returns the others to the queue, returns the exit code.

    Raises ``WorkerEnded`` if the worker ends without being told to.
    """
    # Celery warns about running as root because of pickle, which nothing here accepts.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Celery announces a new default of a setting that is set explicitly here.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_shutting_down.connect(lambda **_: work.interrupt(), weak=False)
    work.start()
    worker = work.app.Worker(**_worker_options(work), quiet=True)
    # Loaded objects stay until the end, so the garbage collector need not scan them again.
    gc.collect()
    gc.freeze()
    worker.start()
    work.stop()
    if not _told_to_end(worker):
        raise WorkerEnded(f"The worker of {work.queue.name} has ended without being told to; the log says why.")
    # Celery's own exit code after Ctrl-C is 1.
    return 0


class WorkerEnded(PlacerankError):
    """A worker has ended without being told to."""


class WorkerThread:
    """A worker in a thread of this process, for embedded mode."""

    def __init__(self, work: Work) -> None:
        self._work = work
        work.app.conf.update(
            worker_prefetch_multiplier=0, broker_transport_options={"polling_interval": _POLLING_S[work.queue]}
        )
        signals.setup_logging.connect(_keep_logging, weak=False)
        self._controller: Any = None
        self._thread = SupervisedThread(f"worker {work.queue.name}", self._run, end=self._interrupt)

    def start(self) -> None:
        """Start consuming."""
        self._work.start()
        self._thread.start()

    def stop(self, timeout_s: float = 3) -> None:
        """Finish running tasks and end the thread."""
        self._thread.stop(timeout_s)
        self._work.stop()

    def _interrupt(self) -> None:
        self._work.interrupt()
        if self._controller is not None:
            self._controller.stop()

    def _run(self) -> None:
        if self._controller is not None:
            # It has failed. Its pool and its connection may still be there.
            self._controller.stop()
        # Not the worker command, which would install signal handlers.
        self._controller = self._work.app.WorkController(**_worker_options(self._work))
        self._controller.start()
        raise EndedByItself(f"Celery's consumer of {self._work.queue.name} has ended; the log says why.")


def _told_to_end(worker: Any) -> bool:
    """Whether a signal, or a remote command, has ended the worker: Celery records a signal, and exits with 0."""
    return state.should_stop is not None or state.should_terminate is not None or worker.exitcode == 0


def _worker_options(work: Work) -> dict[str, Any]:
    return {
        "hostname": f"{work.queue.name}@{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
        "pool": "threads",
        "concurrency": work.threads,
        "queues": [work.queue.name],
        "without_gossip": True,
        "without_mingle": True,
        "loglevel": logging.getLevelName(logging.getLogger().getEffectiveLevel()),
    }


def _app(runtime: WorkerRuntime) -> Celery:
    app = make_app(runtime.broker_url)
    TASKS_HELD.set_function(lambda: len(state.reserved_requests))
    app.conf.worker_consumer = _CONSUMER
    app.steps["consumer"].add(Beat)
    return app


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _keep_logging(**_: Any) -> None:
    """Does nothing: Celery does not change the logging setup if this signal has a receiver."""
