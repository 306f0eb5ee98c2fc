"""Child processes of one command: their output is printed with a prefix, and all of them end together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

#: Seconds that processes may take to end before they are killed.
GRACE_S = 20.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before any fork


class ChildEndedError(RuntimeError):
    """A process that should have gone on has ended; the message says which and how."""


class Stopped(BaseException):
    """The user or the system stopped the command; this is not an error."""


def stop_on_signals() -> None:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into :class:`Stopped`; later ones do not interrupt the shutdown."""

    def stop(number: int, _: object) -> None:
        ignore_signals()
        raise Stopped(signal.Signals(number).name)

    for number in STOPPING:
        signal.signal(number, stop)


def ignore_signals() -> None:
    """Ignores further signals, so that a shutdown that has begun can finish."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class Children:
    """Child processes, each in its own process group, so that they get a terminal's Ctrl-C only once: from here."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._printers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ignore_signals()
        self._end()

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Starts a process, with more environment where it needs some; returns its id."""
        process = subprocess.Popen(
            argv,
            env={**self._environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        self._processes[name] = process
        self._printers.append(threading.Thread(target=_print_lines, args=(name, process.stdout), daemon=True))
        self._printers[-1].start()
        return process.pid

    def run(self, name: str, argv: Sequence[str]) -> None:
        """Runs a process to its end; raises ``ChildEndedError`` if it fails."""
        self.start(name, argv)
        while self._processes[name].poll() is None:
            time.sleep(0.05)
        process = self._processes.pop(name)
        if process.returncode:
            raise ChildEndedError(_how_ended(name, process.returncode))

    def check(self) -> None:
        """Raises if one of the processes has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise ChildEndedError(_how_ended(name, process.returncode))

    def pids(self) -> dict[str, int]:
        """The processes' ids by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def _end(self) -> None:
        deadline = time.monotonic() + GRACE_S
        self._signal_groups(signal.SIGTERM)
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
        self._signal_groups(signal.SIGKILL)  # also what a process that has ended left in its group
        for process in self._processes.values():
            process.wait()
        for printer in self._printers:
            printer.join(1)

    def _signal_groups(self, number: int) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def _end_with_parent() -> None:
    """Runs in the child: the kernel sends it SIGTERM when the parent dies, even if the parent was killed."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _print_lines(name: str, output: IO[str]) -> None:
    with output:
        for line in output:
            print(f"{name:>9} | {line}", end="", flush=True)


def _how_ended(name: str, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"{name} {how}."
