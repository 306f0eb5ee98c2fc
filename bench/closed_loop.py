"""Closed-loop load on real services: loops per second, latencies, and CPU time per loop of each process.

Uses the services that ``make run-services`` has started. Otherwise starts its own and stops them at the end. Compare
the CPU time per loop: it hardly changes on a busy machine, while rates and latencies do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.client import CALLS, Tally, Target, Traveller, bodies
from bench.processes import Usage, usage

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
STATE: Final = ROOT / ".run" / "services.json"
OUT: Final = Path(__file__).parent / "out"
#: The columns of CPU time, in the order in which a request passes the processes.
PROCESSES: Final = ("api", "inference", "training", "relay", "postgresql", "rabbitmq", "redis")
_STARTS_WITHIN_S: Final = 300.0
_WARM_UP_S: Final = 3.0
_WARM_UP_TRAVELLERS: Final = 32
_BODIES_EACH: Final = 16
_SETTLE_S: Final = 1.0
_YARDSTICKS: Final = 20
_YARDSTICK_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True)
class Server:
    """The measured server: its address, and the root process id of each of its processes."""

    url: str
    roots: Mapping[str, int]
    #: Addresses of PostgreSQL, RabbitMQ and Redis, if known.
    addresses: Mapping[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        """The JSON of a route."""
        with opened(f"{self.url}{path}", timeout_s=30) as reply:
            return json.load(reply)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: what the travellers saw, and the CPU time and memory of each process."""

    target: Target
    travellers: int
    seconds: float
    tally: Tally
    loops: int
    cpu_s: Mapping[str, float]
    client_cpu_s: float
    yardstick_ms: float
    after: Mapping[str, Usage]

    def report(self) -> dict[str, Any]:
        """The measurement as plain data; latencies and CPU time per loop are milliseconds."""
        loops = max(self.loops, 1)
        cpu = {name: round(seconds * 1000 / loops, 3) for name, seconds in self.cpu_s.items()}
        return {
            "mode": self.target.mode,
            "travellers": self.travellers,
            "seconds": round(self.seconds, 3),
            "loops": self.loops,
            "loops_per_s": round(self.loops / self.seconds, 1),
            "answer_ms": percentiles(self.tally.answers_s),
            "calls_ms": {call: percentiles(self.tally.calls_s[call]) for call in CALLS if self.tally.calls_s[call]},
            "polls_per_loop": round(len(self.tally.calls_s["status"]) / max(len(self.tally.answers_s), 1), 2),
            "errors": dict(self.tally.errors),
            "cpu_ms_per_loop": cpu | {"sum": round(sum(cpu.values()), 3)},
            "client_cpu_ms_per_loop": round(self.client_cpu_s * 1000 / loops, 3),
            "yardstick_ms": round(self.yardstick_ms, 3),
            "rss_mib": {name: round(used.rss_mib, 1) for name, used in self.after.items()},
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns 1 if a loop failed or an accepted start is not stored."""
    options = _options(arguments)
    with server_of(options) as server:
        report = _measure_all(server, options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    failed = sum(sum(run["errors"].values()) for run in report["runs"])
    print(f"\n{report['started']} started, {report['stored']} stored, {failed} errors. Written to {options.json}.")
    return int(failed > 0 or report["started"] != report["stored"])


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The count, and p50, p90, p99 and the maximum in milliseconds."""
    if not seconds:
        return {"count": 0}
    ordered = sorted(seconds)
    at = {f"p{share}": ordered[min(len(ordered) * share // 100, len(ordered) - 1)] for share in (50, 90, 99)}
    return {
        "count": len(ordered),
        **{name: round(1000 * found, 2) for name, found in (at | {"max": ordered[-1]}).items()},
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--travellers", type=numbers, default="8,64,300", help="concurrent travellers, one run each")
    parser.add_argument("--modes", type=lambda text: text.split(","), default="poll,wait", help="poll, wait, call")
    parser.add_argument("--wait", dest="modes", action="store_const", const=["wait"], help="the same as --modes wait")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each run")
    parser.add_argument("--poll-ms", type=float, default=10.0, help="milliseconds between two requests for the status")
    parser.add_argument("--new-connections", action="store_true", help="a new connection for each call")
    parser.add_argument("--json", type=Path, default=OUT / "closed_loop.json", help="where to write the numbers")
    parser.add_argument("--url", help="address of the API, if it is not the one in the state file")
    parser.add_argument("--state", type=Path, default=STATE, help="addresses and process ids of running services")
    return parser.parse_args(arguments)


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _measure_all(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    before, idle = server.get("/content/info"), usage(server.roots)
    warm = run(measure(server, _target(server, options, "poll"), _WARM_UP_TRAVELLERS, _WARM_UP_S))
    started, runs = warm.tally.started, []
    print(heading())
    for mode in options.modes:
        for travellers in options.travellers:
            measured = run(measure(server, _target(server, options, mode), travellers, options.seconds))
            started += measured.tally.started
            runs.append(measured.report())
            print(line(runs[-1]), flush=True)
    return {
        "machine": {"cores": os.cpu_count(), "load_before": os.getloadavg()[2]},
        "poll_ms": options.poll_ms,
        "idle_rss_mib": {name: round(used.rss_mib, 1) for name, used in idle.items()},
        "runs": runs,
        "started": started,
        "stored": server.get("/content/info")["inferences"] - before["inferences"],
    }


def _target(server: Server, options: argparse.Namespace, mode: str) -> Target:
    return Target.of(
        server.url,
        poll_s=options.poll_ms / 1000,
        wait=mode in {"wait", "call"},
        once=mode == "call",
        new_connections=options.new_connections,
    )


def run(measuring: Coroutine[Any, Any, Measured]) -> Measured:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(measuring)
    return uvloop.run(measuring)


async def measure(server: Server, target: Target, travellers: int, seconds: float) -> Measured:
    tally, stopped = Tally(), asyncio.Event()
    requests = bodies(travellers * _BODIES_EACH, seed=travellers)
    people = [Traveller(target, requests[number::travellers], tally) for number in range(travellers)]
    gc.collect()
    gc.freeze()
    tasks = [asyncio.create_task(person.travel(stopped)) for person in people]
    # At most one second of warm-up. Loops that are cut at the start of the window are balanced by those cut at its end.
    await asyncio.sleep(min(_SETTLE_S, seconds / 4))
    tally.begin_window()
    measuring = asyncio.create_task(_yardstick(seconds))
    loops, client, before, began = tally.loops, time.process_time(), usage(server.roots), time.perf_counter()
    yardstick_ms = await measuring
    after, ended = usage(server.roots), time.perf_counter()
    loops, client = tally.loops - loops, time.process_time() - client
    stopped.set()
    await asyncio.gather(*tasks)
    cpu = {name: after[name].cpu_s - before[name].cpu_s for name in server.roots}
    return Measured(target, travellers, ended - began, tally, loops, cpu, client, yardstick_ms, after)


async def _yardstick(seconds: float) -> float:
    """Milliseconds of CPU time (median) of a fixed piece of Python while the server is under load.

    On shared cores the same work takes more CPU time when neighbours are busy: compare only runs with similar values.
    """
    found = []
    for _ in range(_YARDSTICKS):
        await asyncio.sleep(seconds / _YARDSTICKS)
        began = time.thread_time()
        sum(number * number for number in range(_YARDSTICK_LENGTH))
        found.append((time.thread_time() - began) * 1000)
    return statistics.median(found)


def heading() -> str:
    columns = [
        "mode",
        "trav.",
        "loops/s",
        "p50 ms",
        "p99 ms",
        "polls",
        "errors",
        *PROCESSES,
        "sum",
        "client",
        "yardstick",
    ]
    return "server CPU ms a loop from 'api' to 'sum'\n" + " ".join(f"{column:>10}" for column in columns)


def line(run: Mapping[str, Any]) -> str:
    cpu = run["cpu_ms_per_loop"]
    answer = run["answer_ms"]
    cells = [
        *(run["mode"], run["travellers"], run["loops_per_s"], answer.get("p50", "-"), answer.get("p99", "-")),
        *(run["polls_per_loop"], sum(run["errors"].values())),
        *(f"{cpu[name]:.2f}" if name in cpu else "-" for name in (*PROCESSES, "sum")),
        f"{run['client_cpu_ms_per_loop']:.2f}",
        f"{run['yardstick_ms']:.2f}",
    ]
    line = " ".join(f"{cell:>10}" for cell in cells)
    return line + "".join(f"\n{'':>12}{count} x {kind}" for kind, count in run["errors"].items())


@contextmanager
def server_of(options: argparse.Namespace) -> Iterator[Server]:
    """The server that runs already; otherwise starts one and stops it at the end."""
    if options.state.exists():
        yield _read(options.state, options.url)
    elif options.url:
        yield Server(options.url, {})
    else:
        with tempfile.TemporaryDirectory(prefix="placerank-bench-") as folder, started(Path(folder)) as state:
            yield _read(state, None)


def _read(state: Path, url: str | None) -> Server:
    found = json.loads(state.read_text())
    return Server(url or found["url"], found["roots"], found["addresses"])


@contextmanager
def started(folder: Path) -> Iterator[Path]:
    state, log = folder / "services.json", folder / "log"
    command = [sys.executable, "-m", "tools.run_services", "--state", str(state)]
    print("Starting PostgreSQL, RabbitMQ, Redis, the API, the relay and both workers …", flush=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PORT": str(free_port())}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(state, process, log)
        yield state
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_for(state: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not (state.exists() and state.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"The services did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
    time.sleep(0.1)  # the file may still be being written


def opened(url: str, *, timeout_s: float) -> Any:
    """The reply of an address on this machine; a proxy in the environment is not used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=timeout_s)


def free_port() -> int:
    """A free port on this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
