"""Large catalogues: prunes blocks of similar places by upper bounds of their scores, without scoring the places.

Places are ordered by the leaves of a k-d tree (Bentley 1975, doi:10.1145/361002.361007), so the places of a block are
similar. The bounding box of a block gives an upper bound of the scores in it. Most upper bounds are below the k-th best
score found so far, so most blocks are pruned. This is branch and bound for maximum inner product search (Ram and Gray
2012, doi:10.1145/2339530.2339677). Boxes have two sizes: of blocks, and of areas of several blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from placerank.ranking.features import LOG_PRICE, log_money
from placerank.ranking.scoring.buffers import Buffers
from placerank.ranking.scoring.rough import TILE_SCORES, reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from placerank.ranking.model import Tastes

#: Places per block, and blocks per area. With fewer, boxes are tighter, but there are more of them.
BLOCK: Final = 32
AREA: Final = 16
#: Number of areas, and of blocks in them, that are scored first to get a lower bound of the k-th best score.
_FIRST: Final = 24
#: Pairs of a traveller and a block (or an area) processed at a time, so that their data stays in the processor's cache.
_AT_ONCE: Final = 2048
#: Costs in units of one pair of a traveller and a block within a joint product: of a pair that is multiplied alone, and
#: of fetching a block for the joint product.
_BY_ITSELF: Final = 8
_FETCHED: Final = 16
#: Rows sampled to choose the column by which a node of the tree is split.
_SAMPLE: Final = 256


@dataclass(frozen=True, slots=True)
class _Tastes:
    """The travellers' part in float32: ``weights`` [B, D], and ``sides`` [B, 2 D], their positive then negative parts.

    A place whose log price is at least ``over_from`` [B, 1] gets ``over`` [B, 1] + ``slope`` * log price in addition.
    """

    weights: torch.Tensor
    sides: torch.Tensor
    over: torch.Tensor
    slope: float
    over_from: torch.Tensor

    def penalty(self, who: torch.Tensor, log_price: torch.Tensor) -> torch.Tensor:
        """The budget terms of travellers [M] for places over the budget with these log prices [M, ...]."""
        return self.over[who] + self.slope * log_price


class BoxedCatalogue:
    """Features of places as float32 rows [N, D], in the order of ``by_likeness``; N is at least 1."""

    def __init__(self, features: NDArray[np.float32]) -> None:
        self._n, columns = features.shape
        # Padded to whole areas with copies of the last place.
        filled = np.concatenate([features, np.repeat(features[-1:], -self._n % (AREA * BLOCK), axis=0)])
        blocks = filled.reshape(-1, BLOCK, columns).transpose(0, 2, 1)
        self._blocks = torch.from_numpy(np.ascontiguousarray(blocks))
        # Maxima of the features, for positive weights, then minima, for negative ones. First boxes of blocks, grouped
        # by area, then boxes of areas.
        boxes = torch.cat([self._blocks.amax(dim=2), self._blocks.amin(dim=2)], dim=1).view(-1, AREA, 2 * columns)
        self._boxes = boxes.transpose(1, 2).contiguous()
        areas = self._boxes[:, :columns].amax(dim=2), self._boxes[:, columns:].amin(dim=2)
        self._areas = torch.cat(areas, dim=1).T.contiguous()
        self._dearest = self._boxes[:, LOG_PRICE].flatten()
        self._cheapest = self._boxes[:, columns + LOG_PRICE].flatten()
        self._buffers = Buffers()

    @property
    def nbytes(self) -> int:
        """The memory of all arrays, in bytes."""
        return sum(kept.nbytes for kept in (self._blocks, self._boxes, self._areas, self._dearest, self._cheapest))

    def possible(self, tastes: Tastes, k: int, slack: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Every (traveller, row), sorted by traveller, that may be one of the traveller's best ``k`` (at most N).

        ``slack`` [B] is an upper bound of the sum of the rounding errors of two float32 scores.
        """
        with torch.inference_mode():
            at_best, at_worst = _both(tastes)
            bounds = self._area_bounds(at_best)
            lowest = self._reached(at_worst, self._promising(at_best, bounds, k), k, slack)
            owners, areas = torch.nonzero(bounds >= lowest, as_tuple=True)
            found = []
            for some, blocks, of_blocks in self._of_blocks(at_best, owners, areas):
                at, offset = torch.nonzero(of_blocks >= lowest[some], as_tuple=True)
                found.append((some[at], blocks[at, offset]))
            owners, blocks = self._thinned(at_best, *_joined(found), lowest)
            found = []
            for some, rows, scores in self._of_rows(at_best, owners, blocks):
                at, offset = torch.nonzero(scores >= lowest[some], as_tuple=True)
                found.append((some[at], rows[at] + offset))
            owners, rows = _joined(found)
            return owners.numpy(), rows.numpy()

    def _area_bounds(self, tastes: _Tastes) -> torch.Tensor:
        """An upper bound of the scores in each area, [B, areas]."""
        greatest, least = self._areas[LOG_PRICE], self._areas[len(self._areas) // 2 + LOG_PRICE]
        everyone = torch.arange(len(tastes.weights))
        return torch.mm(tastes.sides, self._areas).add_(_most(tastes, everyone, least, greatest))

    def _promising(self, tastes: _Tastes, bounds: torch.Tensor, k: int) -> torch.Tensor:
        """The blocks [B, M] with the greatest upper bounds in the areas with the greatest ``bounds`` [B, areas]."""
        # Blocks for twice ``k`` places, and an area more, because the last area may be mostly padding.
        first = max(_FIRST, -(-2 * k // BLOCK) + AREA)
        areas = bounds.topk(min(first, bounds.shape[1]), dim=1, sorted=False).indices
        owners = torch.arange(len(areas)).repeat_interleave(areas.shape[1])
        found = [(blocks, bounds) for _, blocks, bounds in self._of_blocks(tastes, owners, areas.flatten())]
        blocks, of_blocks = (part.view(len(areas), -1) for part in _joined(found))
        return blocks.gather(1, of_blocks.topk(min(first, blocks.shape[1]), dim=1, sorted=False).indices)

    def _reached(self, tastes: _Tastes, blocks: torch.Tensor, k: int, slack: NDArray[np.float64]) -> torch.Tensor:
        """Lower bounds [B, 1] of the k-th best score, from the places of ``blocks`` [B, M]."""
        owners = torch.arange(len(blocks)).repeat_interleave(blocks.shape[1])
        scores = torch.cat([scores for *_, scores in self._of_rows(tastes, owners, blocks.flatten())])
        return reached(scores.view(len(blocks), -1), k, slack)

    def _of_blocks(
        self, tastes: _Tastes, owners: torch.Tensor, areas: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yields owners [M], the blocks [M, AREA] of their areas and an upper bound of each block's scores."""
        within, columns = torch.arange(AREA), self._boxes.shape[1] // 2
        for some, numbers in zip(torch.split(owners, _AT_ONCE), torch.split(areas, _AT_ONCE), strict=True):
            boxes = self._buffers.of("boxes", len(numbers), *self._boxes.shape[1:])
            torch.index_select(self._boxes, 0, numbers, out=boxes)
            bounds = torch.bmm(tastes.sides[some, None], boxes)[:, 0]
            over = torch.nonzero(self._areas[LOG_PRICE][numbers] >= tastes.over_from[some, 0])[:, 0]
            if len(over):
                least, greatest = boxes[over, columns + LOG_PRICE], boxes[over, LOG_PRICE]
                bounds.index_add_(0, over, _most(tastes, some[over], least, greatest))
            yield some, numbers[:, None] * AREA + within, bounds

    def _thinned(
        self, tastes: _Tastes, owners: torch.Tensor, blocks: torch.Tensor, lowest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prunes the pairs of owners and blocks [M] whose greatest score plus greatest budget terms is too low.

        Different travellers mostly need the same blocks. One product of all these blocks with all travellers is then
        faster than a product per pair. If they have few blocks in common, it is not, and nothing is pruned.
        """
        wanted = torch.zeros(len(self._blocks), dtype=torch.bool).index_fill_(0, blocks, value=True)
        numbers, travellers = torch.nonzero(wanted)[:, 0], len(tastes.weights)
        if (travellers + _FETCHED) * len(numbers) > _BY_ITSELF * len(blocks):
            return owners, blocks
        best = torch.empty(len(numbers), travellers)
        at_once = min(_AT_ONCE, max(1, TILE_SCORES // (travellers * BLOCK)))
        for some, of_some in zip(torch.split(numbers, at_once), torch.split(best, at_once), strict=True):
            features = self._buffers.of("features", len(some), *self._blocks.shape[1:])
            torch.index_select(self._blocks, 0, some, out=features)
            scores = self._buffers.of("scores", len(some), travellers, BLOCK)
            torch.bmm(tastes.weights.expand(len(some), -1, -1), features, out=scores)
            torch.amax(scores, dim=2, out=of_some)
        bounds = best[(torch.cumsum(wanted, 0) - 1)[blocks], owners]
        over = torch.nonzero(self._dearest[blocks] >= tastes.over_from[owners, 0])[:, 0]
        least, greatest = (prices[blocks[over], None] for prices in (self._cheapest, self._dearest))
        bounds.index_add_(0, over, _most(tastes, owners[over], least, greatest)[:, 0])
        left = torch.nonzero(bounds >= lowest[owners, 0])[:, 0]
        return owners[left], blocks[left]

    def _of_rows(
        self, tastes: _Tastes, owners: torch.Tensor, blocks: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yields owners [M], the first rows [M] of their blocks and the scores [M, BLOCK] of the blocks' rows."""
        for some, numbers in zip(torch.split(owners, _AT_ONCE), torch.split(blocks, _AT_ONCE), strict=True):
            features = self._buffers.of("features", len(numbers), *self._blocks.shape[1:])
            torch.index_select(self._blocks, 0, numbers, out=features)
            rows = numbers * BLOCK
            scores = torch.bmm(tastes.weights[some, None], features)[:, 0]
            over = torch.nonzero(self._dearest[numbers] >= tastes.over_from[some, 0])[:, 0]
            if len(over):
                who, log_price = some[over], features[over, LOG_PRICE]
                penalty = tastes.penalty(who, log_price).mul_(log_price >= tastes.over_from[who])
                scores.index_add_(0, over, penalty)
            # The padding of the last area is not a place.
            if int(rows.max()) + BLOCK > self._n:
                scores.masked_fill_(rows[:, None] + torch.arange(BLOCK) >= self._n, -torch.inf)
            yield some, rows, scores


def by_likeness(features: NDArray[np.float32], importance: NDArray[np.float64]) -> NDArray[np.intp]:
    """An order of the rows of ``features`` [N, D] in which neighbouring rows are similar.

    It is the order of the leaves of a k-d tree. Each node is split by the column whose range times its ``importance``
    [D] is greatest. Answers do not depend on the order; it only decides how much is pruned.
    """
    parts, leaves = [np.arange(len(features))], []
    while parts:
        rows = parts.pop()
        if len(rows) <= BLOCK:
            leaves.append(rows)
            continue
        # The left child gets a power of two of whole blocks, so that an area is a subtree.
        half = BLOCK << ((-(-len(rows) // BLOCK) - 1).bit_length() - 1)
        column = (np.ptp(features[rows[:: -(-len(rows) // _SAMPLE)]], axis=0) * importance).argmax()
        order = features[rows, column].argpartition(half - 1)
        parts += [rows[order[half:]], rows[order[:half]]]
    return np.concatenate(leaves)


def _most(tastes: _Tastes, who: torch.Tensor, least: torch.Tensor, greatest: torch.Tensor) -> torch.Tensor:
    """Upper bounds of the budget terms of travellers [M] for log prices from ``least`` to ``greatest``."""
    penalty = tastes.penalty(who, greatest if tastes.slope > 0 else least)
    # At least 0 if some prices are within the budget, and exactly 0 if all are.
    penalty = torch.where(least >= tastes.over_from[who], penalty, penalty.clamp(min=0))
    return penalty.masked_fill_(greatest < tastes.over_from[who], 0)


def _both(tastes: Tastes) -> tuple[_Tastes, _Tastes]:
    """The travellers' part for upper bounds and for lower bounds.

    They differ in prices for which float32 cannot decide whether they are over the budget.
    """
    weights = torch.from_numpy(tastes.places.astype(np.float32))
    sides = torch.cat([weights.clamp(min=0), weights.clamp(max=0)], dim=1)
    over = torch.from_numpy(tastes.over.astype(np.float32)[:, None])
    # Rounding to float32 may move two logarithms one step apart, or make different ones equal.
    budgets = log_money(tastes.budgets).astype(np.float32)[:, None]
    may_be = torch.from_numpy(np.nextafter(budgets, np.float32(-np.inf)))
    surely = torch.from_numpy(np.nextafter(np.nextafter(budgets, np.float32(np.inf)), np.float32(np.inf)))
    one, other = (_Tastes(weights, sides, over, tastes.over_slope, over_from) for over_from in (may_be, surely))
    return (other, one) if tastes.over_budget < 0 else (one, other)


def _joined(found: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([one for one, _ in found]), torch.cat([other for _, other in found])
