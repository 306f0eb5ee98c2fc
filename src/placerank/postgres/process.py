"""The process of a PostgreSQL server: its pid file, its end, and the watchdog that ends it if we die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two checks of a condition; one check costs well under a millisecond.
POLL_S: Final = 0.01
#: Waits until our process ends: the kernel closes our side of the pipe however we die. Then it sends the server SIGINT,
#: a fast shutdown. A line in the pipe means that the server has ended already: its process id may be reused by now.
_WATCHDOG: Final = "trap '' HUP INT TERM; read -r _ || kill -INT \"$1\""


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a server writes about itself into ``postmaster.pid``."""

    pid: int
    socket_dir: Path

    @classmethod
    def read(cls, data: Path) -> PidFile | None:
        """Read the file of a data folder; None if it is missing, unreadable or not complete yet."""
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            return cls(abs(int(lines[0])), Path(lines[4]))
        except (OSError, ValueError, IndexError):
            return None

    def alive(self, data: Path) -> bool:
        """Whether the process is a server of this data folder, and not another process that has reused its id."""
        words = _command_of(self.pid)
        return "postgres" in words.split("\0", 1)[0] and str(data) in words

    @staticmethod
    def stopping(data: Path) -> bool:
        """Whether the server says that it shuts down; it may wait for its clients then, for ever."""
        try:
            return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "stopping"
        except (OSError, IndexError):
            return False


def end_orphans(data: Path) -> None:
    """Kill what a dead server has left behind: no new server can start before they have ended.

    Most end at once by themselves, but not one that computes. Without ``/proc`` they are not found, only waited for.
    """
    wait_until(lambda: not _orphans(data), 0.5)
    for pid in _orphans(data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _orphans(data), 5.0)


def _orphans(data: Path) -> list[int]:
    """The server processes that work in this folder. They have it neither in their command nor in their group."""
    found, wanted = [], data.resolve()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == wanted:
                # A server's child calls itself "postgres: what it does".
                program = _command_of(int(entry.name)).split("\0", 1)[0].split(":", 1)[0]
                found += [int(entry.name)] if Path(program).name == "postgres" else []
    return found


def disown(data: Path) -> None:
    """Let a new server take over the ``postmaster.pid`` of a dead one.

    A server refuses to start while any process has the id in the file, which is common after a container's restart.
    But it treats the id of its own parent as stale, so we write our id. Removing the file instead would also disable
    the server's own check that nobody still uses the old shared memory.
    """
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(data / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
        with os.fdopen(handle, "r+") as file:
            _, _, rest = file.read().partition("\n")
            file.seek(0)
            file.write(f"{os.getpid()}\n{rest}")
            file.truncate()


def end(pid: int, gone: Callable[[], bool], *, fast_s: float = 3.0) -> None:
    """End a server: fast shutdown, after ``fast_s`` an immediate shutdown, one second later SIGKILL."""
    for number, patience in ((signal.SIGINT, fast_s), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_until(gone, patience):
            return


def wait_until(condition: Callable[[], bool], patience_s: float) -> bool:
    """Check a condition until it holds; returns False if it does not hold within ``patience_s``."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


class Watchdog:
    """A process of about a megabyte that shuts a server down if ours ends without doing so, even by SIGKILL.

    PR_SET_PDEATHSIG would not do: only Linux has it, it fires when the *thread* that started the server ends, and it is
    lost when the server's process changes its user.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def over(cls, pid: int) -> Self:
        """Watch over the server with this process id."""
        command = ["/bin/sh", "-c", _WATCHDOG, "placerank-watchdog", str(pid)]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=pipe, stdout=null, stderr=null, cwd="/", start_new_session=True)
        return cls(process)

    @property
    def alive(self) -> bool:
        """Whether it watches; another process may have killed it."""
        return self._process.poll() is None

    def dismiss(self, *, ended: bool) -> None:
        """Stop watching; if the server has not ended, the watchdog ends it now."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(b"\n" if ended else b"")


def _command_of(pid: int) -> str:
    """The words of a process's command, separated by NUL (Linux) or blanks (macOS); empty where there is none."""
    try:
        if Path("/proc/self/cmdline").exists():
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
        command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
