"""The heartbeat file and the liveness check that reads it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from placerank.worker.heartbeat import EVERY_S, HUNG_AFTER_S, Heartbeat
from placerank.worker.liveness import OLDEST_S

if TYPE_CHECKING:
    from pathlib import Path


def check(*arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-m", "placerank.worker.liveness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_beat_touches_the_file(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    heartbeat = Heartbeat(file, lambda: 0.0)
    heartbeat.beat()
    os.utime(file, (0, 0))
    heartbeat.beat()
    assert time.time() - file.stat().st_mtime < 5


def test_a_worker_that_hangs_stops_beating_and_begins_again(tmp_path: Path) -> None:
    file, idle = tmp_path / "beat", [HUNG_AFTER_S + 1]
    heartbeat = Heartbeat(file, lambda: idle[0])
    heartbeat.beat()
    assert not file.exists()
    idle[0] = HUNG_AFTER_S - 1
    heartbeat.beat()
    assert file.exists()


def test_without_a_file_nothing_is_touched() -> None:
    Heartbeat(None, lambda: 0.0).beat()


def test_several_beats_may_be_missed_and_a_hang_is_noticed_after_two_minutes() -> None:
    assert OLDEST_S >= 5 * EVERY_S
    assert HUNG_AFTER_S == 120


def test_the_check_follows_the_age_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    missing = check(str(file))
    assert missing.returncode == 1
    assert "no heartbeat" in missing.stderr
    file.touch()
    assert check(str(file)).returncode == 0
    long_ago = time.time() - OLDEST_S - 60
    os.utime(file, (long_ago, long_ago))
    old = check(str(file))
    assert old.returncode == 1
    assert "last heartbeat" in old.stderr
    assert check().returncode == 2


def test_the_check_loads_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "beat").touch()
    done = check(str(tmp_path / "beat"), flags=("-X", "importtime"))
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "placerank" in loaded
    assert not loaded & {"celery", "kombu", "torch", "numpy", "psycopg", "redis", "pydantic", "fastapi"}
