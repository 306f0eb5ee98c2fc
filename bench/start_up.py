"""How long processes take until they serve, and the CPU time and memory of idle processes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.closed_loop import OUT, STATE, Server, free_port, opened, server_of
from bench.embedded_start import PLACERANK
from bench.processes import precise_cpu_s, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PATIENCE_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.01
_SETTLE_S: Final = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes."""
    options = _options(arguments)
    with server_of(options) as server:
        report = {
            "machine": {"cores": os.cpu_count(), "load_before": os.getloadavg()[2]},
            "help_s": _median(options.times, _help),
            "api_ready_s": _median(options.times, lambda: _api_ready(server)),
            "worker_ready_s": _median(options.times, lambda: _worker_ready(server)),
            "idle_cpu_percent": _idle(server, options.seconds),
            "idle_rss_mib": {name: round(used.rss_mib, 1) for name, used in usage(server.roots).items()},
        }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in report.items():
        print(f"{name:>18}  {value}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="starts of each kind; the median is reported")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds for which idle processes are measured")
    parser.add_argument("--json", type=Path, default=OUT / "start_up.json", help="where to write the numbers")
    parser.add_argument("--url", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, default=STATE, help="addresses and process ids of running services")
    return parser.parse_args(arguments)


def _median(times: int, measured_s: Callable[[], float]) -> float:
    return round(statistics.median(measured_s() for _ in range(times)), 3)


def _help() -> float:
    began = time.monotonic()
    subprocess.run([PLACERANK, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def _api_ready(server: Server) -> float:
    """Seconds until ``/healthz/ready`` answers 200."""
    port = free_port()

    def ready() -> bool:
        try:
            with opened(f"http://127.0.0.1:{port}/healthz/ready", timeout_s=5):
                return True
        except OSError:
            return False

    return _until(["api", "--port", str(port)], server.addresses, ready)


def _worker_ready(server: Server) -> float:
    """Seconds until the worker consumes: then it writes its heartbeat file. It may run beside another worker."""
    with tempfile.TemporaryDirectory() as folder:
        beat = Path(folder) / "beat"
        environment = {**server.addresses, "PLACERANK_WORKER__HEARTBEAT_FILE": str(beat)}
        return _until(["worker", "--queue", "inference"], environment, beat.exists)


def _until(arguments: Sequence[str], environment: Mapping[str, str], ready: Callable[[], bool]) -> float:
    began = time.monotonic()
    with _process(arguments, environment) as process:
        while not ready():
            if process.poll() is not None or time.monotonic() - began > _PATIENCE_S:
                sys.exit(f"placerank {arguments[0]} did not become ready.")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic() - began


@contextmanager
def _process(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [PLACERANK, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _idle(server: Server, seconds: float) -> dict[str, float]:
    """Per cent of one core that each idle process uses."""
    time.sleep(_SETTLE_S)
    before, began = precise_cpu_s(server.roots), time.monotonic()
    time.sleep(seconds)
    after, passed = precise_cpu_s(server.roots), time.monotonic() - began
    return {name: round(100 * (after[name] - before[name]) / passed, 2) for name in server.roots}


if __name__ == "__main__":
    sys.exit(main())
