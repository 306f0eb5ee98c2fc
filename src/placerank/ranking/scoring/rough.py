"""Scores the whole catalogue in float32 and returns every place that may be in the best k. float64 decides among those.

The first pass keeps only the greatest score of every block of rows. The scores of a tile are overwritten by the next
tile while they are still in the core's own cache. The second pass scores the rows of the few remaining blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from placerank.ranking.features import LOG_PRICE
from placerank.ranking.scoring.buffers import Buffers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from placerank.ranking.model import Tastes

#: Travellers scored together. With more, products are no faster and a tile leaves the cache (bench/scoring.py).
_GROUP: Final = 64
#: The same for a catalogue of up to ``SMALL`` places.
_SMALL_GROUP: Final = 256
#: Scores of one tile: half a megabyte of float32, which fits into a core's own cache.
TILE_SCORES: Final = 131_072
#: Upper bound of the rows of a tile, which matters for few travellers.
TILE_ROWS: Final = 16_384
#: Up to this many places every row is its own block: pruning blocks would cost more than it saves.
SMALL: Final = 2048
#: Rows of a block, in general and in a catalogue of up to ``MEDIUM`` places. With more rows the first pass is cheaper
#: and the second more expensive.
BLOCK: Final = 128
MEDIUM_BLOCK: Final = 32
MEDIUM: Final = 65_536
#: Above this many places, pruning by ``boxes`` is used on a CPU. It is faster from 90 000 places on for 64 travellers,
#: and from 150 000 for one traveller.
LARGE: Final = 131_072
#: Blocks whose rows are scored at a time; bounds memory when very many places are exactly equal.
_BLOCKS_AT_ONCE: Final = 1024


@dataclass(frozen=True, eq=False)
class RoughTastes:
    """The travellers' part in float32: ``weights`` [B, D] of the columns.

    Rows are sorted by price: rows from ``splits`` [B, 1] on are over the budget and get ``over`` [B, 1] + ``slope`` *
    log price in addition.
    """

    weights: torch.Tensor
    over: torch.Tensor
    slope: float
    splits: torch.Tensor

    def of(self, some: torch.Tensor) -> RoughTastes:
        """The same for some of the travellers, given as indices."""
        return RoughTastes(self.weights[some], self.over[some], self.slope, self.splits[some])


class RoughCatalogue:
    """Features of places as float32 columns [D, N padded to whole blocks], sorted by ``prices`` [N], lowest first.

    The padding is copies of the last place.
    """

    def __init__(self, columns: torch.Tensor, prices: NDArray[np.float64]) -> None:
        self.columns = columns
        self.n = len(prices)
        self.block = block_of(self.n)
        self._prices = prices
        log_price = columns[LOG_PRICE].view(-1, self.block)
        self._log_price = torch.stack([log_price.amin(dim=1), log_price.amax(dim=1)])
        self._buffers = Buffers()

    @property
    def nbytes(self) -> int:
        """The memory of all arrays, in bytes."""
        return self.columns.nbytes + self._log_price.nbytes + self._prices.nbytes

    def rough(self, tastes: Tastes) -> RoughTastes:
        """The travellers' part, on the device."""
        # Rows are sorted by price, so the rows over a budget start at one row. This is exact, unlike float32 scores.
        splits = np.searchsorted(self._prices, tastes.budgets, side="right")
        return RoughTastes(
            weights=torch.from_numpy(tastes.places.astype(np.float32)).to(self.columns.device),
            over=torch.from_numpy(tastes.over.astype(np.float32)[:, None]).to(self.columns.device),
            slope=tastes.over_slope,
            splits=torch.from_numpy(splits[:, None]).to(self.columns.device),
        )

    def possible(self, tastes: Tastes, k: int, slack: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Every (traveller, row), sorted by traveller, that may be one of the traveller's best ``k``.

        ``slack`` [B] is an upper bound of the sum of the rounding errors of two float32 scores.
        """
        own = self.rough(tastes)
        with torch.inference_mode():
            # If a budget ends within a block, the block's greatest score does not say whether that place is over the
            # budget. So these blocks do not raise the lower bound, and their rows are always scored.
            owners = torch.nonzero(own.splits[:, 0] % self.block, as_tuple=True)[0]
            blocks = own.splits[owners, 0] // self.block
            least = self._least_tops(own)
            least[owners, blocks] = -torch.inf
            lowest = reached(least, k, slack)
            most = least if self.block == 1 else least.add_(self._spread(own))
            most[owners, blocks] = torch.inf
            owners, blocks = torch.nonzero(most >= lowest, as_tuple=True)
            if self.block > 1:
                owners, blocks = self._look_into(own, lowest, owners, blocks)
            return owners.cpu().numpy(), blocks.cpu().numpy()

    def _least_tops(self, tastes: RoughTastes) -> torch.Tensor:
        """Lower bounds [B, blocks] of the greatest score of each block that is entirely over or within the budget.

        Places of a block have similar prices, so the least budget terms in the block are added to its greatest score.
        """
        over_from = -(-tastes.splits // self.block)
        tops = self.tops(tastes)
        penalty = tastes.over + (tastes.slope * self._log_price).amin(dim=0)
        is_over = torch.arange(tops.shape[1], device=tops.device) >= over_from
        return tops.add_(penalty.mul_(is_over))

    def _spread(self, tastes: RoughTastes) -> torch.Tensor:
        """The difference of the greatest and the least budget terms in each block, [blocks]."""
        return abs(tastes.slope) * (self._log_price[1] - self._log_price[0])

    def tops(self, tastes: RoughTastes) -> torch.Tensor:
        """The greatest score of every block without budget terms, [B, blocks]."""
        if self.columns.is_cuda:
            from placerank.ranking.scoring.fused import fused_tops

            return fused_tops(self.columns, self.block, tastes.weights)
        batch, rows = len(tastes.weights), self.columns.shape[1]
        tops = self._buffers.of("tops", batch, rows // self.block)
        if self.block == 1:
            return torch.mm(tastes.weights, self.columns, out=tops)
        width = max(1, min(TILE_SCORES // batch, TILE_ROWS) // self.block) * self.block
        scores = self._buffers.of("scores", batch, min(width, rows))
        tiles = zip(torch.split(self.columns, width, dim=1), torch.split(tops, width // self.block, dim=1), strict=True)
        for columns, out in tiles:
            tile = scores[:, : columns.shape[1]]
            torch.mm(tastes.weights, columns, out=tile)
            torch.amax(tile.view(batch, -1, self.block), dim=2, out=out)
        return tops

    def _look_into(
        self, tastes: RoughTastes, lowest: torch.Tensor, owners: torch.Tensor, blocks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The owners and rows in these blocks that may be among the best."""
        by_block = self.columns.view(len(self.columns), -1, self.block)
        within = torch.arange(self.block, device=self.columns.device)
        found = []
        for some, numbers in zip(
            torch.split(owners, _BLOCKS_AT_ONCE), torch.split(blocks, _BLOCKS_AT_ONCE), strict=True
        ):
            rows = numbers[:, None] * self.block + within
            scores = _scores_of(tastes.of(some), by_block.index_select(1, numbers), rows)
            at, offset = torch.nonzero((scores >= lowest[some]) & (rows < self.n), as_tuple=True)
            found.append((some[at], rows[at, offset]))
        return torch.cat([some for some, _ in found]), torch.cat([rows for _, rows in found])


def block_of(n: int) -> int:
    """The number of rows per block in a catalogue of ``n`` places."""
    return 1 if n <= SMALL else MEDIUM_BLOCK if n <= MEDIUM else BLOCK


def filled(n: int) -> int:
    """``n`` rounded up to whole blocks."""
    return -(-n // block_of(n)) * block_of(n)


def groups(travellers: int, places: int) -> Iterator[slice]:
    """Groups of travellers that are scored together."""
    size = _SMALL_GROUP if places <= SMALL else _GROUP
    return (slice(start, start + size) for start in range(0, travellers, size))


def reached(scores: torch.Tensor, k: int, slack: NDArray[np.float64]) -> torch.Tensor:
    """Lower bounds [B, 1] of the k-th best score: the k-th greatest of ``scores`` [B, M] minus ``slack`` [B]."""
    if scores.shape[1] <= k:
        return torch.full((len(scores), 1), -torch.finfo(torch.float32).max, device=scores.device)
    kth = scores.topk(k, dim=1).values[:, -1].cpu().numpy()
    # One step down, because the conversion to float32 may round up.
    lowest = np.nextafter((kth.astype(np.float64) - slack).astype(np.float32), np.float32(-np.inf))
    return torch.from_numpy(lowest[:, None]).to(scores.device)


def _scores_of(tastes: RoughTastes, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Scores [M, rows] of the m-th traveller for the m-th block of ``columns`` [D, M, rows]."""
    penalty = tastes.over + tastes.slope * columns[LOG_PRICE]
    scores = torch.where(rows >= tastes.splits, penalty, 0.0)
    for weights, column in zip(tastes.weights.T, columns, strict=True):
        scores.addcmul_(weights[:, None], column)
    return scores
