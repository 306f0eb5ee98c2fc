"""Bootstrap intervals (Efron and Tibshirani 1993).

Travellers are resampled, not lists, because the lists of one traveller are similar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.ranking.judging.clusters import numbers
from placerank.ranking.judging.metrics import judge_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from placerank.ranking.lists import ShownLists

_LEVEL: Final = (2.5, 97.5)
_ROUNDS: Final = 1_000
#: The number of rounds of the slower metrics is chosen so that all rounds together process about this many rows.
_ROWS: Final = 4_000_000


def mean_interval(values: NDArray[np.float64], identities: Sequence[str], seed: int) -> tuple[float, float]:
    """The 95 % interval of the mean of ``values`` [L], given the traveller of each value."""
    owners = numbers(identities)
    sums, counts = np.bincount(owners, values), np.bincount(owners).astype(np.float64)
    rng = np.random.default_rng([seed, 71])
    means = np.empty(_ROUNDS)
    for one in range(_ROUNDS):
        drawn = rng.integers(0, len(sums), len(sums))
        means[one] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, _LEVEL)
    return float(low), float(high)


def metric_intervals(
    rows: NDArray[np.float64], nothing: NDArray[np.float64], lists: ShownLists, seed: int
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric of order, loss and calibration, given P(chosen) of rows and P(nothing)."""
    rounds = int(np.clip(_ROWS // max(1, len(rows)), 40, 200))
    found = [
        judge_order(_rows_of(rows, lists, which), nothing[which], lists.subset(which))
        for which in _resampled(lists.identities, rounds, seed)
    ]
    return {
        name: (
            float(np.percentile([one[name] for one in found], _LEVEL[0])),
            float(np.percentile([one[name] for one in found], _LEVEL[1])),
        )
        for name in found[0]
    }


def _resampled(identities: Sequence[str], rounds: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """For each round, the indices of the lists of travellers drawn with replacement."""
    owners = numbers(identities)
    by_traveller = np.argsort(owners, kind="stable")
    counts = np.bincount(owners)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng([seed, 72])
    for _ in range(rounds):
        drawn = rng.integers(0, len(counts), len(counts))
        yield np.concatenate([by_traveller[starts[one] : starts[one] + counts[one]] for one in drawn.tolist()])


def _rows_of(rows: NDArray[np.float64], lists: ShownLists, which: NDArray[np.int64]) -> NDArray[np.float64]:
    starts, lengths = lists.offsets[which], np.diff(lists.offsets)[which]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    taken: NDArray[np.float64] = rows[np.repeat(starts, lengths) + within]
    return taken
