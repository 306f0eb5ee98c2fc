"""Exact best k of a catalogue for a batch of travellers.

Two steps. All places are scored roughly in float32, tile by tile so that scores stay in cache, and of every block of
rows only the greatest score is kept. A block whose greatest lies below the k-th greatest by more than twice the proven
rounding error cannot hold one of the best k; the rows of the few others are scored again in float64 and sorted. The
result is that of scoring and sorting everything in float64, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from placerank.domain import Traveller
from placerank.ranking.choice import PLAIN, probabilities
from placerank.ranking.errors import ModelError
from placerank.ranking.features import PLACE_FEATURES, place_features, prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.model import Model, Tastes

_LOG_PRICE: Final = PLACE_FEATURES.index("log_price")
#: Scores of one tile on a CPU: half a megabyte of float32, within the cache that a core has for itself.
_TILE_SCORES: Final = {"cpu": 131_072, "cuda": 64 * 1_048_576}
#: Rows of a tile at most, even for a lone traveller: the tile that the budget cuts in two is scored twice.
_TILE_ROWS: Final = {"cpu": 16_384, "cuda": 1_048_576}
#: Rows of a block. One row each up to here, where sorting out blocks costs more than it saves.
_SMALL: Final = 2048
_BLOCK: Final = 64
#: Candidates scored at a time in float64; bounds memory when very many places are exactly equal.
_CHUNK: Final = 65_536
#: Greatest relative error of one rounding to float32.
_HALF_ULP: Final = 2.0**-24


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows of the table, best first, with their utilities and P(chosen | these places and choosing nothing)."""

    rows: tuple[int, ...]
    utilities: tuple[float, ...]
    scores: tuple[float, ...]


class Scorer:
    """Ranks the places of one table by one model. Not for several threads at a time: its buffers are reused.

    Sets no number of threads and no precision: torch must be left at its "highest" float32 precision.
    Raises ModelError when the table holds values that are not numbers.
    """

    def __init__(self, model: Model, table: PlaceTable, *, device: str = "cpu") -> None:
        features = place_features(table.values)[:, model.columns]
        if not np.isfinite(features).all():
            raise ModelError("The catalogue holds a value that is not a finite number.")
        self.model = model
        self.table = table
        self._device = torch.device(device)
        self._block = 1 if len(table) <= _SMALL else _BLOCK
        # Sorted by price, "over the budget" is "from this row on": exact whatever the precision of the scores.
        self._order = np.argsort(prices(table.values), kind="stable")
        self._prices = prices(table.values)[self._order]
        self._ids = table.location_ids[self._order]
        self._features = features[self._order]
        self._greatest = np.abs(features).max(axis=0, initial=0.0)
        with_ones = np.vstack([self._features.T, np.ones(len(table))])
        self._columns = torch.from_numpy(with_ones.astype(np.float32)).to(self._device)
        self._places = torch.arange(len(table), device=self._device)
        self._places_of: NDArray[np.intp] | None = None
        self._buffers: dict[str, torch.Tensor] = {}

    def warm_up(self) -> None:
        """One ranking of a made-up traveller, so that the first real one does not pay for what torch sets up."""
        self.rank([_NOBODY], 1)

    def rank(self, travellers: Sequence[Traveller], k: int) -> list[Ranking]:
        """The best ``k`` places (all, if there are fewer) of each traveller, by utility, then by lower location id.

        Raises ModelError when a utility is not a finite number.
        """
        if not travellers:
            return []
        k = min(k, len(self.table))
        if k <= 0:
            return [Ranking((), (), ()) for _ in travellers]
        tastes = self.model.tastes(travellers)
        if not (np.isfinite(tastes.places).all() and np.isfinite(tastes.over).all()):
            raise ModelError("A utility is not a finite number: a traveller holds a value that is not.")
        kept = self._possible_blocks(tastes, k)
        rows, utilities = self._best(tastes, kept, k)
        scores, _ = probabilities(utilities, tastes.outside, self._acceptance(tastes, rows), self.model.mixture)
        return [
            Ranking(tuple(own), tuple(values), tuple(chances))
            for own, values, chances in zip(
                self._order[rows].tolist(), utilities.tolist(), scores.tolist(), strict=True
            )
        ]

    def chances(self, traveller: Traveller, rows: Sequence[int]) -> tuple[float, ...]:
        """P(chosen | these rows of the table and choosing nothing) of each, in the order given."""
        places = np.empty(len(self.table), dtype=np.intp) if self._places_of is None else self._places_of
        if self._places_of is None:
            places[self._order] = np.arange(len(self.table))
            self._places_of = places
        tastes = self.model.tastes([traveller])
        own = places[list(rows)]
        utilities = self._utilities(tastes, np.zeros(len(own), dtype=np.intp), own)[None]
        scores, _ = probabilities(utilities, tastes.outside, self._acceptance(tastes, own[None]), self.model.mixture)
        return tuple(scores[0].tolist())

    def _acceptance(self, tastes: Tastes, rows: NDArray[np.intp]) -> NDArray[np.float64] | None:
        if self.model.mixture == PLAIN:
            return None
        owners, flat = np.repeat(np.arange(len(rows)), rows.shape[1]), rows.ravel()
        over = self._prices[flat] > tastes.budgets[owners]
        return self.model.acceptance(tastes, owners, self._features[flat], over).reshape(rows.shape)

    def _possible_blocks(self, tastes: Tastes, k: int) -> NDArray[np.bool_]:
        """Which blocks [B, blocks] may hold one of a traveller's best k."""
        tops = self._block_tops(tastes)
        blocks = tops.shape[1]
        if blocks <= k:
            return np.ones(tops.shape, dtype=np.bool_)
        kth = np.partition(tops, blocks - k, axis=1)[:, blocks - k]
        lowest = kth - 2.0 * self._rounding(tastes)
        kept: NDArray[np.bool_] = tops >= lowest[:, None]
        return kept

    def _rounding(self, tastes: Tastes) -> NDArray[np.float64]:
        """A bound [B] of how far a float32 score is from the float64 utility, in whatever order it was summed."""
        terms = self._features.shape[1] + 2
        size = np.abs(tastes.places) @ self._greatest + np.abs(tastes.over)
        size += abs(tastes.over_slope) * self._greatest[_LOG_PRICE]
        # Each product has three roundings (both factors, itself), each sum one a term; doubled to be on the safe side.
        bound: NDArray[np.float64] = 2.0 * (terms + 3) * _HALF_ULP * size
        return bound

    def _block_tops(self, tastes: Tastes) -> NDArray[np.float64]:
        """The greatest float32 score of every block, [B, blocks]."""
        within, over = self._weights(tastes)
        splits = np.searchsorted(self._prices, tastes.budgets, side="right")
        batch, blocks = len(within), -(-len(self.table) // self._block)
        tops = self._buffer("tops", batch, blocks)
        with torch.inference_mode():
            for start, stop in self._tiles(batch):
                scores = self._score_tile(within, over, splits, start, stop)
                first, last = start // self._block, -(-stop // self._block)
                torch.amax(scores.view(batch, -1, self._block), dim=2, out=tops[:, first:last])
        return tops.cpu().numpy().astype(np.float64)

    def _weights(self, tastes: Tastes) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [B, D + 1] of the columns for places within the budget, and for those over it."""
        within = np.column_stack([tastes.places, np.zeros(len(tastes.places))])
        over = np.column_stack([tastes.places, tastes.over])
        over[:, _LOG_PRICE] += tastes.over_slope
        both = torch.from_numpy(np.stack([within, over]).astype(np.float32)).to(self._device)
        return both[0], both[1]

    def _tiles(self, batch: int) -> Iterator[tuple[int, int]]:
        kind = "cpu" if self._device.type == "cpu" else "cuda"
        width = max(1, min(_TILE_SCORES[kind] // batch, _TILE_ROWS[kind]) // self._block) * self._block
        for start in range(0, len(self.table), width):
            yield start, min(start + width, len(self.table))

    def _score_tile(
        self, within: torch.Tensor, over: torch.Tensor, splits: NDArray[np.intp], start: int, stop: int
    ) -> torch.Tensor:
        """Scores [B, rows filled up to whole blocks]; rows that do not exist have -inf.

        Rows lie by price, so most tiles are within the budget, or over it, as a whole: those need one product.
        """
        rows, filled = stop - start, -(-(stop - start) // self._block) * self._block
        scores = self._buffer("scores", len(within), filled)
        columns = self._columns[:, start:stop]
        dear = splits <= start
        torch.mm(self._either(dear, over, within), columns, out=scores[:, :rows])
        if (~dear & (splits < stop)).any():
            others = torch.mm(over, columns, out=self._buffer("others", len(within), rows))
            is_over = self._places[start:stop] >= torch.from_numpy(splits[:, None]).to(self._device)
            torch.where(is_over, others, scores[:, :rows], out=scores[:, :rows])
        if filled > rows:
            scores[:, rows:] = -torch.inf
        return scores

    def _either(self, first: NDArray[np.bool_], one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The travellers' rows of ``one`` where ``first``, of ``other`` elsewhere."""
        if not first.any():
            return other
        return one if first.all() else torch.where(torch.from_numpy(first[:, None]).to(self._device), one, other)

    def _buffer(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """Memory kept between calls: large temporaries would be returned to the system and faulted in each time."""
        held = self._buffers.get(name)
        if held is None or held.numel() < rows * columns:
            held = torch.empty(rows * columns, dtype=torch.float32, device=self._device)
            self._buffers[name] = held
        return held[: rows * columns].view(rows, columns)

    def _best(self, tastes: Tastes, kept: NDArray[np.bool_], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The best k rows [B, k] (in price order) of the kept blocks, and their utilities."""
        together = kept.sum() * self._block <= _CHUNK
        groups = [slice(None)] if together else [slice(one, one + 1) for one in range(len(kept))]
        found = [self._best_of(tastes, kept, group, k) for group in groups]
        return np.concatenate([rows for rows, _ in found]), np.concatenate([values for _, values in found])

    def _best_of(
        self, tastes: Tastes, kept: NDArray[np.bool_], group: slice, k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        owners, rows = self._candidates(kept[group])
        owners_in_batch = owners + (group.start or 0)
        utilities = np.concatenate(
            [
                self._utilities(tastes, owners_in_batch[start : start + _CHUNK], rows[start : start + _CHUNK])
                for start in range(0, len(rows), _CHUNK)
            ]
        )
        best = np.lexsort((self._ids[rows], -utilities, owners))
        firsts = np.searchsorted(owners, np.arange(len(kept[group])))
        chosen = best[firsts[:, None] + np.arange(k)]
        return rows[chosen], utilities[chosen]

    def _candidates(self, kept: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Every (traveller, row) of the kept blocks, by traveller."""
        owners, blocks = np.nonzero(kept)
        if self._block == 1:
            return owners, blocks
        rows = (blocks[:, None] * self._block + np.arange(self._block)).ravel()
        real = rows < len(self.table)
        return np.repeat(owners, self._block)[real], rows[real]

    def _utilities(self, tastes: Tastes, owners: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """The utility of each (traveller, row), the same bits as ``Model.utilities``: sums in the same order."""
        features = self._features[rows]
        utilities: NDArray[np.float64] = np.add.accumulate(tastes.places[owners] * features, axis=1)[:, -1]
        penalty = tastes.over[owners] + tastes.over_slope * features[:, _LOG_PRICE]
        return utilities + np.where(self._prices[rows] > tastes.budgets[owners], penalty, 0.0)


_NOBODY: Final = Traveller("", 1, (30,), 0, 1.0, 1, date(2000, 1, 1), *([False] * 6))
