"""Runs the API, the relay and both workers against real services, until Ctrl-C or until one of them ends.

Environment: ``PORT`` (8000), ``PLACES`` (a catalogue to import instead of the demo), and the addresses of services to
use instead of starting them: ``DATABASE_URL``, ``CELERY_BROKER_URL``, ``CELERY_BACKEND_URL``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tools import services
from tools.children import ChildEndedError, Children, Stopped, stop_on_signals
from tools.services.private import free_port

from placerank.config import addresses
from placerank.schema.traveller import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATE = Path(__file__).resolve().parents[1] / ".run" / "services.json"
READY_S = 120.0
METRICS_PORT = "PLACERANK_TELEMETRY__METRICS_PORT"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is stopped (returns 0), or until a process ends or a service cannot start (returns 1)."""
    options = _options(arguments)
    stop_on_signals()
    try:
        print("Finding or starting PostgreSQL, RabbitMQ and Redis …", flush=True)
        with services.start(install=True) as found, Children(_environment(found)) as children:
            _run(options, found, children)
    except Stopped as stopped:
        print(f"Stopped by {stopped}.", flush=True)
        return 0
    except (services.ServiceUnavailable, ChildEndedError) as failure:
        print(f"{failure} Everything has been stopped.", file=sys.stderr, flush=True)
        return 1
    finally:
        options.state.unlink(missing_ok=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=STATE, help="where to write process ids and addresses")
    parser.add_argument("--placerank", type=shlex.split, default=[str(Path(sys.executable).with_name("placerank"))])
    return parser.parse_args(arguments)


def _environment(found: services.Services) -> dict[str, str]:
    """The services' addresses; with that of the management interface, if it is known, the relay checks the broker."""
    management = {"PLACERANK_BROKER__MANAGEMENT_URL": found.management_url} if found.management_url else {}
    # Text, because people read these lines. Standard error is a pipe here, for which `auto` would select JSON.
    readable = {} if "PLACERANK_TELEMETRY__LOG_FORMAT" in os.environ else {"PLACERANK_TELEMETRY__LOG_FORMAT": "text"}
    return found.environment() | management | readable


def _run(options: argparse.Namespace, found: services.Services, children: Children) -> NoReturn:
    command, port = options.placerank, int(os.environ.get("PORT") or 8000)
    children.run("migrate", [*command, "migrate"])
    if places := _catalogue(found.database_url):
        children.run("places", [*command, "places", *places])
    metrics = {name: free_port() for name in _processes(port)}
    for name, arguments in _processes(port).items():
        children.start(name, [*command, *arguments], {METRICS_PORT: str(metrics[name])})
    _wait_until_ready(f"http://127.0.0.1:{port}", children)
    _write_state(options.state, port, found, children, metrics)
    _introduce(port, found, children, metrics)
    while True:
        children.check()
        time.sleep(0.2)


def _processes(port: int) -> dict[str, list[str]]:
    return {
        "relay": ["relay"],
        "inference": ["worker", "--queue", "inference"],
        "training": ["worker", "--queue", "training"],
        "api": ["api", "--port", str(port)],
    }


def _catalogue(database_url: str) -> list[str] | None:
    """Arguments of ``placerank places``: import the file in PLACES, else the demo; none if there are places already."""
    import psycopg

    if places := os.environ.get("PLACES"):
        return ["import", "--replace", places]
    with psycopg.connect(addresses.postgresql(database_url)) as connection:
        found = connection.execute("SELECT EXISTS (SELECT FROM locations)").fetchone()
    return None if found and found[0] else ["demo"]


def _wait_until_ready(url: str, children: Children) -> None:
    deadline = time.monotonic() + READY_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        children.check()
        try:
            with opener.open(f"{url}/healthz/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise ChildEndedError(f"{url}/healthz/ready did not answer 200 within {READY_S:.0f} s.")


def _write_state(
    path: Path, port: int, found: services.Services, children: Children, metrics: Mapping[str, int]
) -> None:
    """Writes addresses and process ids for benchmarks, which measure ``roots`` with all their current descendants."""
    kept = {name: root for name in services.NAMES if (root := found.root_pid(name))}
    state = {
        "url": f"http://127.0.0.1:{port}",
        "metrics": {name: _metrics_url(metrics_port) for name, metrics_port in metrics.items()},
        "addresses": {**found.environment(), "RABBITMQ_MANAGEMENT_URL": found.management_url},
        "pids": {**{name: [pid] for name, pid in children.pids().items()}, **{name: found.pids(name) for name in kept}},
        "roots": {**children.pids(), **kept},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # it holds passwords
    path.write_text(json.dumps(state, indent=2) + "\n")


def _metrics_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics"


def _introduce(port: int, found: services.Services, children: Children, metrics: Mapping[str, int]) -> None:
    for name, pid in children.pids().items():
        print(f"{name:>12}  pid {pid}, metrics at {_metrics_url(metrics[name])}")
    for name, url in zip(services.NAMES, (found.database_url, found.broker_url, found.cache_url), strict=True):
        print(f"{name:>12}  {addresses.hide_password(url)}{' (started here)' if found.owned(name) else ''}")
    print(f"\nThe API answers at http://127.0.0.1:{port} (documentation: /docs). Try:\n")
    print("curl -s -H 'Content-Type: application/json' -H 'Prefer: wait=20' \\")
    print(
        f"  -d '{json.dumps(EXAMPLE)}' \\\n  http://127.0.0.1:{port}/inference/start\n\nCtrl-C ends everything.",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
