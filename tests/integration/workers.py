"""Real worker processes, forked from a process that has already loaded torch, so that they start quickly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from placerank.domain import Traveller
    from placerank.ranking.scoring.scorer import Ranking, Scorer

#: A traveller of this name ends the worker that scores it, as a crash in native code would.
KILLER = "ends its worker"
#: Scoring for a traveller of this name raises.
BREAKER = "breaks scoring"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["placerank.worker.process", "placerank.runtime", "placerank.cli.serve"])


class Workers:
    """Starts workers against one set of services and ends them all."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._all: list[ForkServerProcess] = []

    def start(self, queue: str = "inference", **environment: str) -> ForkServerProcess:
        """Start one worker; returns its process."""
        log = self._folder / f"worker-{len(self._all)}.log"
        process = _CONTEXT.Process(target=_work, args=(queue, self._environment | environment, str(log)))
        process.start()
        self._all.append(process)
        return process

    def end(self) -> None:
        """Kill all workers that still run."""
        for process in self._all:
            if process.is_alive():
                process.kill()
            process.join()
            process.close()
        self._all.clear()

    def logs(self) -> str:
        """The log output of all workers."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("worker-*.log")))


def stop(process: ForkServerProcess, within_s: float = 20) -> None:
    """Send SIGTERM to a worker, as Kubernetes does; it has to exit with 0."""
    process.terminate()
    process.join(within_s)
    assert process.exitcode == 0, process.exitcode


def _work(queue: str, environment: Mapping[str, str], log: str) -> None:
    """Run the worker command in this process, with a scorer that fails for some travellers."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in [*os.environ]:
        if name.startswith("PLACERANK_"):
            del os.environ[name]
    os.environ.update(environment)
    _harden_scorer()
    from placerank.cli import main

    sys.argv = ["placerank", "worker", "--queue", queue]
    main()


def _harden_scorer() -> None:
    from placerank.ranking.scoring.scorer import Scorer

    rank = Scorer.rank

    def failing(self: Scorer, travellers: Sequence[Traveller], k: int) -> list[Ranking]:
        names = {traveller.name for traveller in travellers}
        if KILLER in names:
            os._exit(9)
        if BREAKER in names:
            raise RuntimeError("scoring broke")
        with suppress(KeyError):
            time.sleep(float(os.environ["TEST_SLOW_S"]))
        return rank(self, travellers, k)

    Scorer.rank = failing  # type: ignore[method-assign]
