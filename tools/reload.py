"""Runs a package from a writable copy of its code and restarts it whenever a file of that copy changes.

    python reload.py FOLDER PACKAGE [ARGUMENT...]

For development in a cluster: the root file system of placerank's images is read-only, so changed files are copied into
FOLDER of a running pod. If the unchanged package ends, this script ends with the same exit code, as Jobs need it. If
changed code fails, the script waits for the next change. It imports nothing of ``tools``, because the images lack it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

POLL_S = 0.5
#: Seconds that a process has to finish before it is killed; less than any grace period of the chart.
GRACE_S = 10
#: Name, modification time and size of each file; equal as long as nothing changed.
Fingerprint = frozenset[tuple[str, int, int]]


def copy_package(package: str, folder: Path) -> None:
    """Copy an installed package into ``folder``; an existing copy is kept, with its changes."""
    if (folder / package).exists():
        return
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"reload: the package {package} is not installed: install it first.")
    unfinished = folder / f".{package}"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(Path(found.origin).parent, unfinished, ignore=shutil.ignore_patterns("__pycache__"))
    unfinished.rename(folder / package)


def fingerprint(folder: Path) -> Fingerprint:
    """Name, modification time and size of every file in a folder."""
    found = set()
    for path in folder.rglob("*"):
        if "__pycache__" not in path.parts and path.is_file():
            about = path.stat()
            found.add((str(path), about.st_mtime_ns, about.st_size))
    return frozenset(found)


class Reloader:
    """One process, and the folder that it runs from."""

    def __init__(self, folder: Path, package: str, arguments: list[str]) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", package, *arguments]
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self._stopped_by: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """Forward a signal to the process; the process is not restarted afterwards."""
        self._stopped_by = number
        if self._process is not None:
            self._process.send_signal(number)

    def run(self) -> int:
        """Run until a signal, or until the first version ends. Returns its exit code."""
        seen = fingerprint(self._folder)
        changed = False
        while True:
            process = self._start()
            code = self._wait_for_end_or_change(process, seen)
            if code is not None and (self._stopped_by is not None or not changed or code == 0):
                return code
            if code is not None:
                print(f"reload: the changed code ended with {code}; waiting for the next change", flush=True)
            seen, changed = self._next_change(seen), True
            self._end(process)
            if self._stopped_by is not None:
                return 128 + self._stopped_by
            print("reload: the code changed, starting again", flush=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, env=self._environment)
        if self._stopped_by is not None:  # the signal came while there was no process to hand it to
            self._process.send_signal(self._stopped_by)
        return self._process

    def _wait_for_end_or_change(self, process: subprocess.Popen[bytes], seen: Fingerprint) -> int | None:
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if self._stopped_by is None and fingerprint(self._folder) != seen:
                    return None

    def _next_change(self, seen: Fingerprint) -> Fingerprint:
        """Wait until the folder has changed and is stable, so that a copy of many files counts as one change."""
        last = seen
        while self._stopped_by is None:
            now = fingerprint(self._folder)
            if now != seen and now == last:
                return now
            last = now
            time.sleep(POLL_S)
        return last

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(arguments: list[str]) -> int:
    """Copy, run, watch."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    copy_package(arguments[1], folder)
    reloader = Reloader(folder, arguments[1], arguments[2:])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, reloader.stop)
    return reloader.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
