"""Compares placerank with a plain FastAPI and Celery build of the same loop, and with LitServe for a single call.

All run on the same services and the same machine, in turns, so that the ratios hold on other machines too. Each number
is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.client import Target
from bench.closed_loop import OUT, STATE, Server, measure, numbers, run, server_of
from bench.contestants import Contestant, litserve, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_S: Final = 0.01
_WARM_UP_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Turn:
    """The measurement of one contestant in each round."""

    name: str
    contestant: Contestant
    target: Target
    travellers: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns 1 if a loop of placerank failed."""
    options = _options(arguments)
    with ExitStack() as stack:
        ours = stack.enter_context(server_of(options))
        turns = _turns(options, ours, stack)
        for turn in turns:
            _take(turn, _WARM_UP_S)
        rounds = [[_take(turn, options.seconds) for turn in turns] for _ in range(options.rounds)]
    report = {
        "machine": {"cores": os.cpu_count(), "load_before": os.getloadavg()[2]},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "runs": [_median(turn, list(taken)) for turn, taken in zip(turns, zip(*rounds, strict=True), strict=True)],
    }
    report["ratios"] = _ratios(report["runs"])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    _print(report)
    return int(any(found["errors"] for found in report["runs"] if found["server"] == "placerank"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--loops", type=numbers, default="8,64", help="concurrent travellers for the whole loop")
    parser.add_argument("--calls", type=numbers, default="64,300", help="concurrent travellers for the single call")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of each turn")
    parser.add_argument("--json", type=Path, default=OUT / "compare.json", help="where to write the numbers")
    parser.add_argument("--url", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, default=STATE, help="addresses and process ids of running services")
    return parser.parse_args(arguments)


def _turns(options: argparse.Namespace, ours: Server, stack: ExitStack) -> list[Turn]:
    baseline, comparator = stack.enter_context(plain(ours)), stack.enter_context(litserve())
    own = Contestant(ours)
    turns = [
        Turn(name, contestant, Target.of(contestant.server.url, poll_s=_POLL_S), travellers)
        for travellers in options.loops
        for name, contestant in (("placerank", own), ("plain", baseline))
    ]
    for travellers in options.calls:
        call = Target.of(ours.url, poll_s=_POLL_S, wait=True, once=True)
        turns.append(Turn("placerank", own, call, travellers))
        call = Target.of(comparator.server.url, poll_s=_POLL_S, wait=True, once=True, path="/predict")
        turns.append(Turn("litserve", comparator, call, travellers))
    return turns


def _take(turn: Turn, seconds: float) -> dict[str, Any]:
    with turn.contestant.awake():
        return run(measure(turn.contestant.server, turn.target, turn.travellers, seconds)).report()


def _median(turn: Turn, taken: Sequence[dict[str, Any]]) -> dict[str, Any]:
    processes = taken[0]["cpu_ms_per_loop"]
    return {
        "server": turn.name,
        "mode": turn.target.mode,
        "travellers": turn.travellers,
        "loops_per_s": round(statistics.median(found["loops_per_s"] for found in taken), 1),
        "p50_ms": statistics.median(found["answer_ms"].get("p50", 0.0) for found in taken),
        "p99_ms": statistics.median(found["answer_ms"].get("p99", 0.0) for found in taken),
        "cpu_ms_per_loop": {
            name: round(statistics.median(found["cpu_ms_per_loop"][name] for found in taken), 3) for name in processes
        },
        "rss_mib": taken[-1]["rss_mib"],
        "errors": dict(sum((Counter(found["errors"]) for found in taken), Counter())),
        "each_loops_per_s": [found["loops_per_s"] for found in taken],
    }


def _ratios(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    rates = {(found["server"], found["mode"], found["travellers"]): found["loops_per_s"] for found in runs}
    return {
        f"{mode} at {travellers}: placerank / {name}": round(rates["placerank", mode, travellers] / max(rate, 0.1), 2)
        for (name, mode, travellers), rate in rates.items()
        if name != "placerank"
    }


def _print(report: dict[str, Any]) -> None:
    columns = ("server", "mode", "travellers", "loops/s", "p50 ms", "p99 ms", "CPU ms", "errors")
    print(" ".join(f"{column:>10}" for column in columns))
    for found in report["runs"]:
        cells = (
            *(found["server"], found["mode"], found["travellers"], found["loops_per_s"]),
            *(found["p50_ms"], found["p99_ms"], f"{found['cpu_ms_per_loop']['sum']:.2f}"),
            sum(found["errors"].values()),
        )
        print(" ".join(f"{cell:>10}" for cell in cells))
        for kind, count in found["errors"].items():
            print(f"{'':>12}{count} x {kind}")
    for name, ratio in report["ratios"].items():
        print(f"{ratio:>10.2f}  {name}")


if __name__ == "__main__":
    sys.exit(main())
