"""Runs one service for another process, and ends the service when that process ends, even by SIGKILL.

Run as a script. It reads JSON lines from standard input: first the orders (every user could read them as an argument),
then commands. The end of standard input means that the service is no longer needed: the kernel closes the pipe even if
its writer is killed, so nothing is left behind. Linux only: it finds descendants in /proc, and it is the subreaper that
adopts orphans (epmd makes itself one).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
#: Seconds that a service may take to end before it is killed.
GRACE_S = 30.0


def descendants(of: int) -> list[int]:
    """Every living descendant of ``of``: helpers of PostgreSQL and Erlang leave the process group."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (found := parent_and_state(int(entry))) and found[1] != "Z":
            children.setdefault(found[0], []).append(int(entry))
    family, unseen = [], [of]
    while unseen:
        below = children.get(unseen.pop(), [])
        family += below
        unseen += below
    return family


def parent_and_state(pid: int) -> tuple[int, str] | None:
    """A process's parent and one-letter state, or ``None`` when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]  # the process name before it may contain anything, brackets too
    return int(parent), state


def signal_each(pids: list[int], number: int) -> None:
    """Sends a signal to processes that may be gone by now."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


class Keeper:
    """One service's processes, its log and its folder."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._folder = Path(orders["folder"])
        self._libc = ctypes.CDLL(None)  # loaded before any fork
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._exited: dict[int, int] = {}
        self._main: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self) -> None:
        """Executes commands until standard input ends, then ends the service and removes its folder."""
        try:
            for line in sys.stdin:
                os.write(1, b"%d\n" % self._obey(**json.loads(line)))
        except BrokenPipeError:
            return  # the caller is gone
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            self._stop(self._orders["end_signal"])
            shutil.rmtree(self._folder, ignore_errors=True)

    def _obey(self, do: str, argv: list[str] | None = None, number: int = signal.SIGTERM) -> int:
        if do == "run":
            return self._run(argv or [])
        if do == "start":
            self._main = self._spawn(self._orders["argv"])
            return self._main.pid
        self._stop(number)
        return 0

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        user = self._orders["user"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                argv,
                env=self._orders["env"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._die_with_me,
                **({"user": user[0], "group": user[1], "extra_groups": []} if user else {}),
            )

    def _die_with_me(self) -> None:
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def _run(self, argv: list[str]) -> int:
        pid = self._spawn(argv).pid
        while pid not in self._exited:
            time.sleep(0.01)
        return self._exited[pid]

    def _stop(self, number: int) -> None:
        """Asks the main process to end, then kills every descendant that is left."""
        deadline = time.monotonic() + GRACE_S
        signal_each(descendants(os.getpid()), signal.SIGCONT)
        if self._main and self._main.pid not in self._exited:
            signal_each([self._main.pid], number)
            while self._main.pid not in self._exited and time.monotonic() < deadline:
                time.sleep(0.01)
        while (left := descendants(os.getpid())) and time.monotonic() < deadline + GRACE_S:
            signal_each(left, signal.SIGKILL)
            time.sleep(0.01)

    def _reap(self, *_: object) -> None:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._exited[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            return


def leave(number: int, _: object) -> None:
    """Turns a signal into an ordinary exit, so that the service is ended too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if (orders := sys.stdin.readline()).endswith("\n"):  # else the caller is gone
        Keeper(json.loads(orders)).serve()
