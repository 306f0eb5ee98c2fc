"""The development images run changed code; jobs and signals still end the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

RELOAD = Path(__file__).resolve().parents[2] / "tools" / "reload.py"
SERVING = """\
import signal, sys, time
from shown.word import WORD
def stop(*_):
    print("stopped", WORD, flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, stop)
print("says", WORD, *sys.argv[1:], flush=True)
while True:
    time.sleep(0.05)
"""


class Running:
    """The reloader running a package ``shown``, which prints a word and runs until SIGTERM."""

    def __init__(self, folder: Path, main: str = SERVING) -> None:
        self.installed, self.code = folder / "installed", folder / "code"
        package = self.installed / "shown"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(main)
        (package / "word.py").write_text("WORD = 'first'\n")
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RELOAD), str(self.code), "shown", "--loud"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(self.installed), "PYTHONDONTWRITEBYTECODE": "1"},
            )

    def wait_for(self, words: str) -> None:
        """Wait until the output contains these words."""
        until = time.monotonic() + 30
        while words not in self.log.read_text():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def change(self, text: str) -> None:
        """Change a file, as a tool does that copies files into a pod."""
        (self.code / "shown" / "word.py").write_text(text)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()


def test_changed_code_runs_and_the_old_is_ended_first(running: Running) -> None:
    running.wait_for("says first --loud")
    running.change("WORD = 'second'\n")
    running.wait_for("says second --loud")
    assert running.log.read_text().index("stopped first") < running.log.read_text().index("says second")
    assert (running.installed / "shown" / "word.py").read_text() == "WORD = 'first'\n"


def test_changed_code_that_fails_waits_for_the_next_change(running: Running) -> None:
    running.wait_for("says first")
    running.change("WORD =\n")
    running.wait_for("waiting for the next change")
    assert running.process.poll() is None
    running.change("WORD = 'mended'\n")
    running.wait_for("says mended")


def test_a_signal_ends_it_with_the_code_of_what_ran(running: Running) -> None:
    running.wait_for("says first")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 5
    assert "stopped first" in running.log.read_text()


def test_a_signal_ends_it_while_it_waits_for_a_change(running: Running) -> None:
    running.wait_for("says first")
    running.change("WORD =\n")
    running.wait_for("waiting for the next change")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) != 0


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_ends_with_its_code(tmp_path: Path, code: int) -> None:
    job = Running(tmp_path, main=f"raise SystemExit({code})\n")
    assert job.process.wait(30) == code


def test_what_was_changed_outlives_a_restart_of_the_container(tmp_path: Path) -> None:
    job = Running(tmp_path, main="from shown.word import WORD\nprint('says', WORD)\n")
    assert job.process.wait(30) == 0
    job.change("WORD = 'kept'\n")
    command = [sys.executable, str(RELOAD), str(job.code), "shown"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(job.installed)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "says kept\n"
