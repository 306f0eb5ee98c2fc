"""Draws ``docs/pictures/*.svg`` from the results in ``bench/out``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from bench.closed_loop import OUT, ROOT
from matplotlib import pyplot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Runs = Sequence[dict[str, Any]]

PICTURES: Final = ROOT / "docs" / "pictures"
_NAMES: Final = {"poll": "start, status, results, select", "wait": "waiting start, select", "call": "waiting start"}


def main() -> int:
    """Draws every picture for which there are results."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "placerank"
    PICTURES.mkdir(parents=True, exist_ok=True)
    runs = _read(OUT / "closed_loop.json").get("runs", [])
    if runs:
        _draw("throughput", "loops a second", runs, lambda run: run["loops_per_s"])
        _draw("latency", "start to results, p99, ms", runs, lambda run: run["answer_ms"]["p99"], log=True)
        _draw("cpu", "server CPU, ms a loop", runs, lambda run: run["cpu_ms_per_loop"]["sum"])
    compared = _read(OUT / "compare.json").get("runs", [])
    if compared:
        _bars(compared)
    cases = _read(OUT / "scoring.json").get("cases", [])
    if cases:
        _draw_by_size("scoring-latency", "milliseconds a batch", cases, lambda _, ms: ms)
        _draw_by_size("scoring-throughput", "rankings a second", cases, lambda travellers, ms: 1000 * travellers / ms)
    print(f"Pictures are in {PICTURES}.")
    return 0


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _draw(
    name: str,
    label: str,
    runs: Sequence[dict[str, Any]],
    value: Callable[[dict[str, Any]], float],
    *,
    log: bool = False,
) -> None:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for mode in dict.fromkeys(run["mode"] for run in runs):
        own = [run for run in runs if run["mode"] == mode]
        axes.plot([run["travellers"] for run in own], [value(run) for run in own], "o-", label=_NAMES[mode])
    axes.set(xlabel="travellers at once", ylabel=label, xscale="log")
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.legend()
    _save(figure, name)


def _draw_by_size(name: str, label: str, cases: Runs, value: Callable[[int, float], float]) -> None:
    """Draws a value over the size of the catalogue: placerank as a solid line, the machine's bound as a dotted line."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for colour, travellers in enumerate(sorted({case["travellers"] for case in cases})):
        own = [case for case in cases if case["travellers"] == travellers]
        places = [case["places"] for case in own]
        ours, bound = (
            [value(travellers, ms) for ms in found]
            for found in ([case["ms"]["placerank"] for case in own], [case["bound_ms"] for case in own])
        )
        axes.plot(places, ours, "o-", color=f"C{colour}", label=f"{travellers} a batch")
        axes.plot(places, bound, ":", color=f"C{colour}")
    axes.set(xlabel="places in the catalogue (dotted: the machine's bound)", ylabel=label, xscale="log", yscale="log")
    axes.legend()
    _save(figure, name)


def _bars(compared: Runs) -> None:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    labels = [f"{run['server']}, {run['mode']} at {run['travellers']}" for run in compared]
    bars = axes.barh(labels[::-1], [run["loops_per_s"] for run in compared][::-1])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set(xlabel="loops a second", xscale="log")
    _save(figure, "compare")


def _save(figure: Any, name: str) -> None:
    # Without a date, the same results give the same file.
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
