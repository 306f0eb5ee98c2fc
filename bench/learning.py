"""Quality of the learned models and CPU time of training, on simulated lists and on files if given."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# As in the commands: the matrices are small, and more threads would only busy-wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from placerank.demo import synthetic
from placerank.files.impressions import read_impressions
from placerank.ranking.catalogue import place_values
from placerank.ranking.judging.metrics import evaluate, judge
from placerank.ranking.learning.objective import CANDIDATES
from placerank.ranking.learning.training import fit, fit_candidate
from placerank.ranking.lists import ShownLists
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = ("auc", "auc_within_lists", "hit_at_1", "log_loss", "ece")
_PLACES, _UNSEEN = 2_000, 5_000


def simulated(count: int, seed: int) -> ShownLists:
    """``count`` simulated lists."""
    lists = list(synthetic.shown_lists(count, _PLACES, seed))
    return ShownLists(
        travellers=[traveller for traveller, _, _, _ in lists],
        identities=[identity for _, identity, _, _ in lists],
        places=place_values([place for _, _, shown, _ in lists for place in shown]),
        offsets=np.cumsum([0, *(len(shown) for _, _, shown, _ in lists)], dtype=np.int64),
        chosen=np.array([chosen for _, _, _, chosen in lists], dtype=np.int64),
    )


def compared(count: int) -> dict[str, Any]:
    """Figures of the chosen model, of each candidate and of the prior, on unseen places and travellers."""
    seen, unseen = simulated(count, 21), simulated(_UNSEEN, 22)
    began = time.process_time()
    fitted = fit(seen, seed=0)
    found: dict[str, Any] = {
        "lists": count,
        "chosen": fitted.model.kind,
        "cpu_s": time.process_time() - began,
        "prior": _figures(evaluate(prior(), unseen)),
    }
    for candidate in CANDIDATES:
        found[candidate.kind] = _figures(evaluate(fit_candidate(seen, candidate), unseen))
    return found


def cross_validated(path: Path) -> dict[str, Any]:
    """Figures of the chosen candidate on held-out travellers of a file: the mean over five seeds."""
    lists = read_impressions(path).lists
    began = time.process_time()
    fitted = [fit(lists, seed=seed) for seed in range(5)]
    judged = [_figures(judge(one.rows, one.nothing, one.judged)) for one in fitted]
    return {
        "file": path.name,
        "chosen": [one.model.kind for one in fitted],
        "cpu_s": (time.process_time() - began) / len(fitted),
        **{name: float(np.mean([one[name] for one in judged])) for name in _SHOWN},
    }


def _figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[name] for name in _SHOWN}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line of JSON for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, nargs="*", default=[1_000, 50_000])
    parser.add_argument("--impressions", type=Path, nargs="*", default=[])
    wanted = parser.parse_args(arguments)
    for path in wanted.impressions:
        print(json.dumps(cross_validated(path)), flush=True)
    for count in wanted.lists:
        print(json.dumps(compared(count)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
