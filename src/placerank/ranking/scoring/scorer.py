"""Exact best k of a catalogue for a batch of travellers.

There are two steps. First, places are scored in float32: all of them (``rough``) or, in a large catalogue, those that
are not pruned by their boxes (``boxes``). Places whose score is below the k-th greatest by more than twice the upper
bound of the rounding error are pruned. Second, the few remaining places are scored in float64 and sorted. The result is
the same as that of scoring and sorting everything in float64, ties included.
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
from placerank.ranking.features import LOG_PRICE, place_features, prices
from placerank.ranking.scoring import boxes, rough

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.model import Model, Tastes

#: Candidates scored at a time in float64; bounds memory when very many places are exactly equal.
_CHUNK: Final = 65_536
#: Up to this many scores nothing is pruned: scoring everything in float64 takes less time than pruning.
_FEW: Final = 1024
#: Greatest relative error of one rounding to float32.
_HALF_ULP: Final = 2.0**-24


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows of the table, best first, with their utilities and P(chosen | these places and choosing nothing)."""

    rows: tuple[int, ...]
    utilities: tuple[float, ...]
    scores: tuple[float, ...]


class Scorer:
    """Ranks the places of one table by one model; thread-safe.

    In addition to the table, it holds float32 features and about 12 bytes per place. It sets neither torch's number of
    threads nor its precision: torch must stay at its "highest" float32 precision. Raises ModelError when the table
    holds values that are not finite numbers.
    """

    def __init__(self, model: Model, table: PlaceTable, *, device: str = "cpu") -> None:
        self.model = model
        self.table = table
        self._device = torch.device(device)
        features = self._all_features()
        self._greatest = np.abs(features).max(axis=0, initial=0.0).astype(np.float64)
        order, self._rough = self._laid_out(features)
        self._order = order.astype(np.int32)
        self._places_of: NDArray[np.intp] | None = None
        self._known: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if len(table) <= rough.SMALL:
            self._known = self._facts(np.arange(len(table)))

    def warm_up(self) -> None:
        """Rank for a made-up traveller once, so that the first real one does not wait for torch's initialisation."""
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
        owners, rows = self._possible(tastes, k)
        best, utilities = self._best(tastes, owners, rows, k)
        scores, _ = probabilities(utilities, tastes.outside, self._acceptance(tastes, best), self.model.mixture)
        return [
            Ranking(tuple(own), tuple(values), tuple(chances))
            for own, values, chances in zip(
                self._order[best].tolist(), utilities.tolist(), scores.tolist(), strict=True
            )
        ]

    def chances(self, traveller: Traveller, rows: Sequence[int]) -> tuple[float, ...]:
        """P(chosen) of each of these rows of the table, among them and choosing nothing, in the order given."""
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
        owners = np.repeat(np.arange(len(rows)), rows.shape[1])
        features, money = self._facts(rows.ravel())
        return self.model.acceptance(tastes, owners, features, money > tastes.budgets[owners]).reshape(rows.shape)

    def _possible(self, tastes: Tastes, k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Every (traveller, row), sorted by traveller, that may be one of the traveller's best ``k``."""
        travellers, places = len(tastes.places), len(self.table)
        if travellers * places <= _FEW:
            return np.repeat(np.arange(travellers), places), np.tile(np.arange(places), travellers)
        return self._rough.possible(tastes, k, 2.0 * self._rounding(tastes))

    def _rounding(self, tastes: Tastes) -> NDArray[np.float64]:
        """An upper bound [B] of the rounding error of a float32 score, for any order of summation."""
        terms = len(self._greatest) + 2
        size = np.abs(tastes.places) @ self._greatest + np.abs(tastes.over)
        size += abs(tastes.over_slope) * self._greatest[LOG_PRICE]
        # Each product has three roundings (both factors and the product), each sum one per term. Doubled for safety.
        bound: NDArray[np.float64] = 2.0 * (terms + 3) * _HALF_ULP * size
        return bound

    def _best(
        self, tastes: Tastes, owners: NDArray[np.intp], rows: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The best k [B, k] of the possible rows, and their utilities."""
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
        """The utility of each (traveller, row), bit-identical to ``Model.utilities``: summed in the same order."""
        features, money = self._facts(rows)
        utilities: NDArray[np.float64] = np.add.accumulate(tastes.places[owners] * features, axis=1)[:, -1]
        penalty = tastes.over[owners] + tastes.over_slope * features[:, LOG_PRICE]
        return utilities + np.where(money > tastes.budgets[owners], penalty, 0.0)

    def _facts(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features [M, D] and prices [M] of rows.

        Above ``rough.SMALL`` places they are computed again: keeping all in float64 would double the memory.
        """
        if self._known is not None:
            features, money = self._known
            return features[rows], money[rows]
        values = self.table.values[self._order[rows]]
        return place_features(values)[:, self.model.columns], prices(values)

    def _all_features(self) -> NDArray[np.float32]:
        """Features [N, D] of the table's rows."""
        features = np.empty((len(self.table), len(self.model.columns)), dtype=np.float32)
        for start in range(0, len(self.table), _CHUNK):
            values = self.table.values[start : start + _CHUNK]
            features[start : start + _CHUNK] = place_features(values)[:, self.model.columns]
        if not np.isfinite(features).all():
            raise ModelError("The catalogue holds a value that is not a finite number.")
        return features

    def _laid_out(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], rough.RoughCatalogue | boxes.BoxedCatalogue]:
        """An order of the table's rows [N], and the catalogue of ``features`` [N, D] in this order."""
        if len(features) > rough.LARGE and self._device.type == "cpu":
            order = boxes.by_likeness(features, self.model.column_weights)
            return order, boxes.BoxedCatalogue(features[order])
        money = prices(self.table.values)
        order = np.argsort(money, kind="stable")
        filled = np.concatenate([order, np.repeat(order[-1:], rough.filled(len(order)) - len(order))])
        columns = torch.from_numpy(np.ascontiguousarray(features[filled].T))
        return order, rough.RoughCatalogue(columns.to(self._device), money[order])


_NOBODY: Final = Traveller("", 1, (30,), 0, 1.0, 1, date(2000, 1, 1), *([False] * 6))
