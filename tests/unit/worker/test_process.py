"""Only being told to end ends a worker; whatever else does is an error."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from celery import bootsteps
from kombu import Connection

from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.telemetry.metrics import PART_FAILURES
from placerank.worker.heartbeat import Heartbeat
from placerank.worker.process import Work, WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = """
import sys
from celery import bootsteps
from placerank.queue import topology
from placerank.queue.celery_app import make_app
from placerank.worker import process
from placerank.worker.heartbeat import Heartbeat

class Step(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)
    def start(self, parent):
        print("up", flush=True)
        {does}

app = make_app("memory://")
app.placerank_heartbeat = Heartbeat(None, lambda: 0.0)
app.conf.worker_consumer = "placerank.worker.consumer:Consumer"
app.steps["consumer"].add(Step)
nothing = lambda: None
from placerank.cli import cli, main
cli.main = lambda **_: sys.exit(process.run(process.Work(app, topology.INFERENCE, 1, nothing, nothing, nothing)))
main()
"""


def run(does: str, *, told: signal.Signals | None = None) -> tuple[int, str]:
    command = [sys.executable, "-W", "ignore", "-c", WORKER.format(does=does)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        if told is not None:
            process.send_signal(told)
        _, error = process.communicate(timeout=60)
        return process.returncode, error


@pytest.mark.parametrize("does", ["raise RuntimeError('broken')", "parent.blueprint.state = bootsteps.CLOSE"])
def test_a_worker_that_ends_by_itself_says_so(does: str) -> None:
    code, error = run(does)
    assert code == 1
    assert "placerank: The worker of placerank.inference has ended without being told to" in error


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_ends_with_0(told: signal.Signals) -> None:
    code, error = run("pass", told=told)
    assert code == 0
    assert "placerank:" not in error


def eventually(condition: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_in_a_thread_starts_again() -> None:
    up: list[Any] = []
    done = threading.Event()

    class Up(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:
            up.append(parent.controller)

    app = make_app("memory://")
    app.placerank_heartbeat = Heartbeat(None, lambda: 0.0)
    app.conf.worker_consumer = "placerank.worker.consumer:Consumer"
    app.steps["consumer"].add(Up)

    @app.task(name=topology.TRAINING.task)  # type: ignore[untyped-decorator]
    def work(task_id: str) -> None:
        assert UUID(task_id)
        done.set()

    thread = WorkerThread(Work(app, topology.TRAINING, 1, lambda: None, lambda: None, lambda: None))
    failures = PART_FAILURES.labels("worker placerank.training")._value
    before = failures.get()
    thread.start()
    try:
        eventually(lambda: up)
        up[0].stop()
        eventually(lambda: len(up) == 2)
        assert failures.get() == before + 1
        work.apply_async((str(uuid4()),), queue=topology.TRAINING.name, routing_key=topology.TRAINING.name)
        assert done.wait(10)
    finally:
        thread.stop()
        with Connection("memory://") as connection:  # type: ignore[no-untyped-call]
            connection.channel().queue_purge(topology.TRAINING.name)
    assert failures.get() == before + 1
