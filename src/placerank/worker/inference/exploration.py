"""Exploration: a share of the answers shows good places in random order, with known propensities.

Without it, a model only learns about the places that the previous model ranked high. An explored answer draws its
places from the best ``DEPTH`` times the answer's size, each order with the same probability, and shows them as drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placerank.domain import Traveller
    from placerank.ranking.scoring.scorer import Ranking, Scorer

DEPTH: Final = 3


@dataclass(frozen=True, slots=True)
class Order:
    """What is shown: rows of the table, best first or as drawn, their scores and their propensities.

    A propensity is P(this place at this position), over answers with and without exploration.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    propensities: Sequence[float]
    explored: bool


class Explorer:
    """Ranks places for travellers, and explores for a ``share`` of them; not thread-safe."""

    def __init__(self, share: float, size: int, rng: random.Random | None = None) -> None:
        """``size`` is the number of places in an answer."""
        self._share = share
        self._size, self._depth = size, size * DEPTH
        self._rng = rng or random.SystemRandom()

    def orders(self, scorer: Scorer, travellers: Sequence[Traveller]) -> list[Order]:
        """What to show each traveller; raises what ranking raises."""
        if self._share == 0:
            return [_exact(ranking, 1.0) for ranking in scorer.rank(travellers, self._size)]
        explored = [self._rng.random() < self._share for _ in travellers]
        kept = iter(
            scorer.rank([one for one, drawn in zip(travellers, explored, strict=True) if not drawn], self._size)
        )
        deep = iter(scorer.rank([one for one, drawn in zip(travellers, explored, strict=True) if drawn], self._depth))
        return [
            self._drawn(scorer, traveller, next(deep)) if drawn else self._kept(next(kept), len(scorer.table))
            for traveller, drawn in zip(travellers, explored, strict=True)
        ]

    def _kept(self, ranking: Ranking, places: int) -> Order:
        return _exact(ranking, 1.0 - self._share + self._share / max(1, min(places, self._depth)))

    def _drawn(self, scorer: Scorer, traveller: Traveller, ranking: Ranking) -> Order:
        depth = len(ranking.rows)
        ranks = self._rng.sample(range(depth), min(self._size, depth))
        rows = [ranking.rows[rank] for rank in ranks]
        propensities = [
            self._share / depth + (1.0 - self._share) * (rank == position) for position, rank in enumerate(ranks)
        ]
        return Order(rows, scorer.chances(traveller, rows), propensities, explored=True)


def _exact(ranking: Ranking, propensity: float) -> Order:
    return Order(ranking.rows, ranking.scores, [propensity] * len(ranking.rows), explored=False)
