"""Exact best k of a catalogue for a batch of travellers.

Two steps. All places are scored roughly in float32 (``rough``), and whatever lies below the k-th greatest by more than
twice the proven rounding error is left out. The few others are scored again in float64 and sorted. The result is that
of scoring and sorting everything in float64, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from placerank.domain import Traveller
from placerank.ranking import rough
from placerank.ranking.choice import PLAIN, probabilities
from placerank.ranking.errors import ModelError
from placerank.ranking.features import place_features, prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.model import Model, Tastes

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
    """Ranks the places of one table by one model; for several threads at a time too.

    Holds, beside the table, float32 features and 12 bytes a place. Sets no number of threads and no precision: torch
    must be left at its "highest" float32 precision. Raises ModelError when the table holds values that are not numbers.
    """

    def __init__(self, model: Model, table: PlaceTable, *, device: str = "cpu") -> None:
        self.model = model
        self.table = table
        self._device = torch.device(device)
        # Sorted by price, "over the budget" is "from this row on": exact whatever the precision of the scores.
        order = np.argsort(prices(table.values), kind="stable")
        self._prices = prices(table.values)[order]
        self._order = order.astype(np.int32)
        self._known: NDArray[np.float64] | None = None
        self._greatest = np.zeros(len(model.columns))
        columns = torch.zeros(len(model.columns), rough.filled(len(table)))
        for start in range(0, len(table), _CHUNK):
            features = self._features(np.arange(start, min(start + _CHUNK, len(table))))
            if not np.isfinite(features).all():
                raise ModelError("The catalogue holds a value that is not a finite number.")
            self._greatest = np.maximum(self._greatest, np.abs(features).max(axis=0))
            columns[:, start : start + len(features)] = torch.from_numpy(features.T)
        columns[:, len(table) :] = columns[:, len(table) - 1 :][:, :1]
        self._rough = rough.RoughCatalogue(columns.to(self._device), len(table))
        self._places_of: NDArray[np.intp] | None = None
        if len(table) <= rough.SMALL:
            self._known = self._features(np.arange(len(table)))

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
        return [
            one for group in rough.groups(len(travellers), len(self.table)) for one in self._rank(travellers[group], k)
        ]

    def _rank(self, travellers: Sequence[Traveller], k: int) -> list[Ranking]:
        tastes = self.model.tastes(travellers)
        if not (np.isfinite(tastes.places).all() and np.isfinite(tastes.over).all()):
            raise ModelError("A utility is not a finite number: a traveller holds a value that is not.")
        owners, rows = self._rough.possible(self._rough_tastes(tastes), k, 2.0 * self._rounding(tastes))
        best, utilities = self._best(tastes, owners, rows, k)
        scores, _ = probabilities(utilities, tastes.outside, self._acceptance(tastes, best), self.model.mixture)
        return [
            Ranking(tuple(own), tuple(values), tuple(chances))
            for own, values, chances in zip(
                self._order[best].tolist(), utilities.tolist(), scores.tolist(), strict=True
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
        return self.model.acceptance(tastes, owners, self._features(flat), over).reshape(rows.shape)

    def _rounding(self, tastes: Tastes) -> NDArray[np.float64]:
        """A bound [B] of how far a float32 score is from the float64 utility, in whatever order it was summed."""
        terms = len(self._greatest) + 2
        size = np.abs(tastes.places) @ self._greatest + np.abs(tastes.over)
        size += abs(tastes.over_slope) * self._greatest[rough.LOG_PRICE]
        # Each product has three roundings (both factors, itself), each sum one a term; doubled to be on the safe side.
        bound: NDArray[np.float64] = 2.0 * (terms + 3) * _HALF_ULP * size
        return bound

    def _rough_tastes(self, tastes: Tastes) -> rough.RoughTastes:
        splits = np.searchsorted(self._prices, tastes.budgets, side="right")
        return rough.RoughTastes(
            weights=torch.from_numpy(tastes.places.astype(np.float32)).to(self._device),
            over=torch.from_numpy(tastes.over.astype(np.float32)[:, None]).to(self._device),
            slope=tastes.over_slope,
            splits=torch.from_numpy(splits[:, None]).to(self._device),
        )

    def _best(
        self, tastes: Tastes, owners: NDArray[np.intp], rows: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The best k rows [B, k] (in price order) of the possible ones, and their utilities."""
        utilities = np.concatenate(
            [
                self._utilities(tastes, owners[start : start + _CHUNK], rows[start : start + _CHUNK])
                for start in range(0, len(rows), _CHUNK)
            ]
        )
        best = np.lexsort((self.table.location_ids[self._order[rows]], -utilities, owners))
        firsts = np.searchsorted(owners, np.arange(len(tastes.places)))
        chosen = best[firsts[:, None] + np.arange(k)]
        return rows[chosen], utilities[chosen]

    def _utilities(self, tastes: Tastes, owners: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """The utility of each (traveller, row), the same bits as ``Model.utilities``: sums in the same order."""
        features = self._features(rows)
        utilities: NDArray[np.float64] = np.add.accumulate(tastes.places[owners] * features, axis=1)[:, -1]
        penalty = tastes.over[owners] + tastes.over_slope * features[:, rough.LOG_PRICE]
        return utilities + np.where(self._prices[rows] > tastes.budgets[owners], penalty, 0.0)

    def _features(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Features [M, D] of rows. Those of many places are made anew: all in float64 would double the memory."""
        if self._known is not None:
            return self._known[rows]
        return place_features(self.table.values[self._order[rows]])[:, self.model.columns]


_NOBODY: Final = Traveller("", 1, (30,), 0, 1.0, 1, date(2000, 1, 1), *([False] * 6))
