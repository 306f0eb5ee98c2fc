"""Deliberate exploration: now and then an answer shows good places in random order, with known chances.

Without it a model only ever learns about what the last model liked. An explored answer draws its places from the best
``DEPTH`` times as many as an answer has, each order alike; its order is the one that is shown.
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
    """What is shown: rows of the table, best first or as drawn, their scores, and the chance of each to stand there.

    A propensity is P(this place at this position), over exploring and not.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    propensities: Sequence[float]
    explored: bool


class Explorer:
    """Ranks travellers, and explores for a ``share`` of them. Not for several threads at a time."""

    def __init__(self, share: float, size: int, rng: random.Random | None = None) -> None:
        """``size`` places make an answer."""
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
