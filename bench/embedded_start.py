"""How long ``placerank run`` takes to start in an empty folder and in a used one, and how long it takes to stop.

Also the memory of an idle API process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.client import bodies
from bench.closed_loop import OUT, STATE, free_port
from bench.processes import alive, descendants, naming, usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACERANK: Final = Path(sys.executable).with_name("placerank")
_PATIENCE_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.02
_IDLE_S: Final = 3.0
#: Addresses where nothing listens: the API also starts while its services are unreachable.
_AWAY: Final = {
    "DATABASE_URL": "postgresql://placerank@127.0.0.1:9/placerank",
    "CELERY_BROKER_URL": "pyamqp://127.0.0.1:9//",
    "CELERY_BACKEND_URL": "redis://127.0.0.1:9/0",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the embedded mode: seconds to the first answer and from Ctrl-C to the exit, and what it left."""

    answer_s: float
    end_s: float
    exit_code: int
    left_behind: int
    inferences: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns 1 if a process was left, an exit code is not 0 or data was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", type=Path, default=OUT / "embedded_start.json", help="where to write the numbers")
    parser.add_argument("--state", type=Path, default=STATE, help="addresses of running services, for the idle API")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="placerank-bench-") as folder:
        # In subfolders: the bundled PostgreSQL may have to change their permissions for the user that it runs as.
        fresh, again = (_live(Path(folder) / "own" / "data") for _ in range(2))
    state, idle_mib = _idle_api(options.state)
    report = {
        "fresh_start_to_answer_s": round(fresh.answer_s, 2),
        "restart_to_answer_s": round(again.answer_s, 2),
        "ctrl_c_to_end_s": [round(run.end_s, 2) for run in (fresh, again)],
        "exit_codes": [run.exit_code for run in (fresh, again)],
        "left_behind": fresh.left_behind + again.left_behind,
        "kept_over_restart": again.inferences == fresh.inferences + 1,
        "idle_api_rss_mib": round(idle_mib, 1),
        "idle_api_services": state,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in report.items():
        print(f"{name:>24}  {value}")
    good = report["exit_codes"] == [0, 0] and not report["left_behind"] and report["kept_over_restart"]
    return 0 if good else 1


def _live(data: Path) -> Run:
    port, began = free_port(), time.monotonic()
    process = _start(["run", "--port", str(port), "--data-dir", str(data)], {})
    try:
        answered = _first_answer(port, process) - began
        inferences = int(_open(f"http://127.0.0.1:{port}/content/info")["inferences"])
        own = {*descendants(process.pid), *naming(str(data))} - {process.pid}
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait(_PATIENCE_S)
        ended = time.monotonic() - interrupted
    finally:
        _end(process)
    return Run(answered, ended, code, sum(alive(pid) for pid in own), inferences)


def _first_answer(port: int, process: subprocess.Popen[bytes]) -> float:
    """The time at which the first traveller was answered."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/inference/start",
        data=bodies(1, seed=1)[0],
        headers={"Content-Type": "application/json", "Prefer": "wait=30"},
    )
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if len(_open(request).get("results", ())) > 0:
                return time.monotonic()
        except OSError:
            time.sleep(_LOOK_EVERY_S)
    sys.exit("placerank run has not answered.")


def _idle_api(state: Path) -> tuple[str, float]:
    """Resident MiB of an idle API process, with its services reachable or not."""
    there = state.exists()
    addresses = json.loads(state.read_text())["addresses"] if there else _AWAY
    port = free_port()
    process = _start(["api", "--port", str(port)], addresses)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                _open(f"http://127.0.0.1:{port}/healthz/live")
                break
            except OSError:
                time.sleep(_LOOK_EVERY_S)
        time.sleep(_IDLE_S)
        return ("there" if there else "away"), usage({"api": process.pid})["api"].rss_mib
    finally:
        _end(process)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(PLACERANK), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _open(request: urllib.request.Request | str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=40) as reply:
        return json.load(reply)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
