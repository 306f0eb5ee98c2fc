"""Shown lists: travellers, the places shown to them and their choices; utilities and probabilities of these lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.domain import PLACE_FIELDS
from placerank.ranking.choice import probabilities
from placerank.ranking.errors import ModelError
from placerank.ranking.features import (
    BASE_TERMS,
    BUDGET_TERMS,
    LIMIT_TERMS,
    LOG_PRICE,
    OUTSIDE_TERMS,
    PLACE_FEATURES,
    TERMS,
    TRAVELLER_FEATURES,
    budgets,
    log_money,
    place_features,
    prices,
    traveller_features,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller
    from placerank.ranking.model import Model

TERM_ROWS: Final = [TRAVELLER_FEATURES.index(name) for name, _ in TERMS]
TERM_COLUMNS: Final = [PLACE_FEATURES.index(name) for _, name in TERMS]
OUTSIDE_ROWS: Final = [TRAVELLER_FEATURES.index(name) for name in OUTSIDE_TERMS]
LIMITS: Final = [TERMS.index(term) for term in LIMIT_TERMS]
LIMIT_ROWS: Final = [TERM_ROWS[one] for one in LIMITS]
LIMIT_COLUMNS: Final = [TERM_COLUMNS[one] for one in LIMITS]
_BASE_FACTS: Final = max(TERM_ROWS[: len(BASE_TERMS)] + OUTSIDE_ROWS) + 1
_BASE_FEATURES: Final = max(TERM_COLUMNS[: len(BASE_TERMS)]) + 1


@dataclass(frozen=True, eq=False)
class ShownLists:
    """L lists that travellers answered; list ``l`` is rows ``offsets[l]:offsets[l + 1]`` of ``places``.

    ``places`` is float64 [M, 17] in the order of ``domain.PLACE_FIELDS``; ``offsets`` int64 [L + 1]; ``chosen``
    int64 [L] is the position in the list, -1 for none; lists of one traveller have the same entry in ``identities``.
    """

    travellers: Sequence[Traveller]
    identities: Sequence[str]
    places: NDArray[np.float64]
    offsets: NDArray[np.int64]
    chosen: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raises ValueError when the shapes do not match or a choice is not in its list."""
        lists = len(self.travellers)
        if not len(self.identities) == len(self.chosen) == len(self.offsets) - 1 == lists:
            raise ValueError(f"{lists} lists need as many identities, as many choices, and one more offset.")
        if self.places.shape != (int(self.offsets[-1]), len(PLACE_FIELDS)) or self.offsets[0] != 0:
            raise ValueError(
                f"The rows shown must be [{int(self.offsets[-1])}, {len(PLACE_FIELDS)}], and the first offset 0."
            )
        lengths = np.diff(self.offsets)
        if (lengths < 0).any() or (self.chosen < -1).any() or (self.chosen >= lengths).any():
            raise ValueError("A choice must be a position in its list, or -1.")

    def __len__(self) -> int:
        return len(self.chosen)

    def subset(self, which: NDArray[np.int64]) -> ShownLists:
        """The lists with these indices, in this order."""
        lengths = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return ShownLists(
            travellers=[self.travellers[one] for one in which],
            identities=[self.identities[one] for one in which],
            places=self.places[rows],
            offsets=offsets,
            chosen=self.chosen[which],
        )


@dataclass(frozen=True, eq=False)
class Block:
    """L lists, padded to the length J of the longest; ``present`` [L, J] is true where there is a place.

    ``facts`` [L, T] are features of travellers, ``features`` [L, J, P] of places. ``over`` [L, J, 2] are 1 and
    log(price / budget) for places over the budget, otherwise 0. ``features`` and ``over`` are 0 in the padding.
    ``chosen`` [L] is -1 for none.
    """

    facts: NDArray[np.float64]
    features: NDArray[np.float64]
    over: NDArray[np.float64]
    present: NDArray[np.bool_]
    chosen: NDArray[np.int64]

    @property
    def terms(self) -> int:
        """How many of ``features.TERMS`` this block has the features for."""
        return len(TERMS) if self.features.shape[2] == len(PLACE_FEATURES) else len(BASE_TERMS)

    def narrow(self) -> Block:
        """The same lists without the features that only ``features.RICH_TERMS`` need."""
        facts, features = self.facts[:, :_BASE_FACTS], self.features[:, :, :_BASE_FEATURES]
        return Block(facts.copy(), features.copy(), self.over, self.present, self.chosen)

    def utilities(
        self, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Utilities [L, J], their limit and budget terms [L, J], and the utilities of choosing nothing [L].

        The first two are -inf in the padding. ``weights`` are in the order of ``features.WEIGHT_NAMES``.
        """
        matrix = np.zeros((self.facts.shape[1], self.features.shape[2]))
        matrix[TERM_ROWS[: self.terms], TERM_COLUMNS[: self.terms]] = weights[: self.terms]
        tastes = self.facts @ matrix
        budget = self.over @ weights[len(TERMS) : len(TERMS) + len(BUDGET_TERMS)]
        whole = np.matmul(self.features, tastes[:, :, None])[..., 0] + budget
        limits = self.facts[:, LIMIT_ROWS] * weights[LIMITS]
        limited = (self.features[:, :, LIMIT_COLUMNS] * limits[:, None, :]).sum(axis=2) + budget
        outside = self.facts[:, OUTSIDE_ROWS] @ weights[len(TERMS) + len(BUDGET_TERMS) :]
        return np.where(self.present, whole, -np.inf), np.where(self.present, limited, -np.inf), outside


class Prepared:
    """The features of many lists, from which a :class:`Block` is made for a few thousand lists at a time.

    Raises ModelError when a value is not finite.
    """

    def __init__(self, lists: ShownLists) -> None:
        self._facts = traveller_features(lists.travellers)
        self._features = place_features(lists.places)
        if not (np.isfinite(self._facts).all() and np.isfinite(self._features).all()):
            raise ModelError("A shown place or its traveller holds a value that is not a finite number.")
        self._lists = lists
        self._budgets = budgets(lists.travellers)

    def block(self, start: int, stop: int) -> Block:
        """Lists ``start:stop``."""
        offsets = self._lists.offsets[start : stop + 1]
        lengths = np.diff(offsets)
        rows = np.arange(offsets[0], offsets[-1])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        positions = rows - np.repeat(offsets[:-1], lengths)
        shape = (len(lengths), int(lengths.max(initial=0)))
        features, over = np.zeros((*shape, len(PLACE_FEATURES))), np.zeros((*shape, len(BUDGET_TERMS)))
        features[owners, positions] = self._features[rows]
        over[owners, positions] = self._over(rows, owners + start)
        present = np.arange(shape[1]) < lengths[:, None]
        return Block(self._facts[start:stop], features, over, present, self._lists.chosen[start:stop])

    def _over(self, rows: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
        spent = self._budgets[owners]
        over = (prices(self._lists.places[rows]) > spent).astype(np.float64)
        return np.column_stack([over, over * (self._features[rows, LOG_PRICE] - log_money(spent))])


def choice_probabilities(model: Model, lists: ShownLists) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(chosen) of every row [M] among its list and choosing nothing, and P(nothing) of every list [L]."""
    prepared = Prepared(lists)
    rows, nothing = [np.empty(0)], [np.empty(0)]
    for start, stop in chunks(len(lists)):
        block = prepared.block(start, stop)
        utilities, acceptance, outside = block.utilities(model.weights)
        chances, rest = probabilities(utilities, outside, acceptance, model.mixture)
        rows.append(chances[block.present])
        nothing.append(rest)
    return np.concatenate(rows), np.concatenate(nothing)


def list_utilities(model: Model, lists: ShownLists) -> NDArray[np.float64]:
    """The utility of every row [M], by which places are ordered."""
    prepared = Prepared(lists)
    rows = [np.empty(0)]
    for start, stop in chunks(len(lists)):
        block = prepared.block(start, stop)
        rows.append(block.utilities(model.weights)[0][block.present])
    return np.concatenate(rows)


def chunks(lists: int, size: int = 4096) -> list[tuple[int, int]]:
    """Spans of at most ``size`` lists, so that memory does not grow with the number of lists."""
    return [(start, min(start + size, lists)) for start in range(0, lists, size)]
