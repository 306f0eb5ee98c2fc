"""Standard errors of means by traveller: the lists of one traveller are similar, so they are no independent draws.

Deviations are summed for each traveller before they are squared (Liang and Zeger 1986).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def numbers(identities: Sequence[str]) -> NDArray[np.int64]:
    """The travellers of lists as numbers from 0, in the order in which they occur [L]."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(identity, len(known)) for identity in identities], dtype=np.int64)


def standard_error(
    deviations: NDArray[np.float64], travellers: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> float:
    """The standard error of a weighted mean, given the deviation from it [L] and the traveller [L] of each value.

    Infinite for a single traveller, from whom nothing can be said about others.
    """
    own = np.ones(len(deviations)) if weights is None else weights
    sums = np.bincount(travellers, own * deviations)
    if len(sums) < 2:
        return float("inf")
    # With few travellers the squares are too small, because their mean was taken from them.
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / own.sum())
