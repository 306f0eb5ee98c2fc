"""A private service of the caller: its own folder, free ports on the loopback, its own keeper process."""

from __future__ import annotations

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import keeper
from .errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_S = 90.0
LOOPBACK = "127.0.0.1"
#: Below the ephemeral ports (32768 and up on Linux). Otherwise a client that retries while its service is stopped could
#: get the service's port as its own, connect to itself and block the service's next start.
PORTS = range(20_000, 32_000)

_ports_given: set[int] = set()
_ports_lock = threading.Lock()


def free_port() -> int:
    """A port of the loopback that nothing listens on and that was not given out before."""
    with _ports_lock:
        while True:
            port = random.choice(PORTS)
            if port not in _ports_given and _can_bind(port):
                _ports_given.add(port)
                return port


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def unprivileged_user(*preferred: str) -> tuple[int, int] | None:
    """The user of a service if the caller is root: the first name that exists. ``None``: the caller's own user."""
    if os.geteuid() != 0:
        return None
    for name in (*preferred, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServiceUnavailable(
        f"Services do not run as root, and none of the users {', '.join(preferred)}, nobody exists: create one of them."
    )


def new_folder(name: str, user: tuple[int, int] | None) -> Path:
    """Creates a folder for one service: in /var/tmp, which is on a disk, because /tmp is memory on many systems."""
    place = "/var/tmp" if os.access("/var/tmp", os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=f"placerank-{name}-", dir=place))
    if user:
        os.chown(folder, *user)
    return folder


@contextmanager
def closed_on_failure(process: Private) -> Iterator[None]:
    """Ends a service whose start does not succeed."""
    try:
        yield
    except BaseException:
        process.close()
        raise


class Private:
    """A service under a keeper. ``argv`` may hold ``{folder}``, as may the values of ``env``."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        stop_signal: int = signal.SIGTERM,
        end_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.folder = new_folder(name, user)
        self._stop_signal = stop_signal
        self._main = 0
        self._lock = threading.Lock()
        own = {"HOME": str(self.folder), "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        orders = {
            "folder": str(self.folder),
            "argv": [self._filled(part) for part in argv],
            "env": own | {key: self._filled(value) for key, value in (env or {}).items()},
            "user": user,
            "end_signal": int(end_signal),
        }
        self._keeper = self._start_keeper()
        with closed_on_failure(self):
            self._write(orders)

    def _filled(self, text: str) -> str:
        return text.replace("{folder}", str(self.folder))

    def _start_keeper(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C reaches only the caller, which then closes this
            text=True,
        )

    @property
    def keeper_pid(self) -> int:
        """The ancestor of all of the service's processes."""
        return self._keeper.pid

    def run(self, argv: Sequence[str]) -> None:
        """Runs a command to its end as the service's user, in its folder."""
        if self._tell(do="run", argv=list(argv)) != 0:
            raise ServiceUnavailable(f"{self.name}: {argv[0]} failed.\n{self.log_tail()}")

    def start(self, ready: Callable[[], bool], cancelled: threading.Event) -> None:
        """Starts the service and waits until ``ready`` returns true."""
        if not self.alive():
            self._main = self._tell(do="start")
        deadline = time.monotonic() + START_S
        while not ready():
            if not self.alive():
                raise ServiceUnavailable(f"{self.name} ended while it was starting.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"{self.name} was not ready after {START_S:.0f} s.\n{self.log_tail()}")
            if cancelled.wait(0.05):
                raise ServiceUnavailable(f"The start of {self.name} was cancelled.")

    def stop(self) -> None:
        """Shuts the service down; its port and data are kept."""
        self._tell(do="stop", number=int(self._stop_signal))

    def kill(self) -> None:
        """Kills the service's processes, as a power cut would."""
        self._tell(do="stop", number=int(signal.SIGKILL))

    def pause(self) -> None:
        """Suspends every process (SIGSTOP): connections stay open, but nothing answers."""
        while running := [pid for pid in self.pids() if (keeper.parent_and_state(pid) or (0, "T"))[1] != "T"]:
            keeper.signal_each(running, signal.SIGSTOP)
            time.sleep(0.01)

    def resume(self) -> None:
        """Resumes suspended processes."""
        keeper.signal_each(self.pids(), signal.SIGCONT)

    def alive(self) -> bool:
        """Whether the service's main process lives."""
        seen = keeper.parent_and_state(self._main)
        return seen is not None and seen[0] == self._keeper.pid and seen[1] != "Z"

    def pids(self) -> list[int]:
        """All of the service's living processes, helpers included."""
        return keeper.descendants(self._keeper.pid)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the service wrote."""
        log = self.folder / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"

    def close(self) -> None:
        """Ends the service and its keeper and removes its folder."""
        self._keeper.communicate()
        # The keeper has removed it, unless it was killed.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, **command: object) -> int:
        with self._lock:
            self._write(command)
            return int(self._keeper.stdout.readline() or -1) if self._keeper.stdout else -1

    def _write(self, line: Mapping[str, object]) -> None:
        if self._keeper.stdin is None:
            raise ServiceUnavailable(f"{self.name} has no keeper.")
        try:
            self._keeper.stdin.write(json.dumps(line) + "\n")
            self._keeper.stdin.flush()
        except BrokenPipeError as broken:
            raise ServiceUnavailable(f"{self.name}'s keeper has ended.") from broken
