"""Shown lists: what was shown to whom and what was taken, and what a model's weights make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.domain import PLACE_FIELDS
from placerank.ranking.errors import ModelError
from placerank.ranking.features import (
    BUDGET_TERMS,
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
from placerank.ranking.model import probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller
    from placerank.ranking.model import Model

_TERM_ROWS: Final = [TRAVELLER_FEATURES.index(name) for name, _ in TERMS]
_TERM_COLUMNS: Final = [PLACE_FEATURES.index(name) for _, name in TERMS]
_OUTSIDE_ROWS: Final = [TRAVELLER_FEATURES.index(name) for name in OUTSIDE_TERMS]
_LOG_PRICE: Final = PLACE_FEATURES.index("log_price")


@dataclass(frozen=True, eq=False)
class ShownLists:
    """L lists that travellers answered; list ``l`` is rows ``offsets[l]:offsets[l + 1]`` of ``places``.

    ``places`` is float64 [M, 17] in the order of ``domain.PLACE_FIELDS``; ``offsets`` int64 [L + 1]; ``chosen``
    int64 [L] is the position in the list, -1 for none of it; ``identities`` say which lists are the same traveller's.
    """

    travellers: Sequence[Traveller]
    identities: Sequence[str]
    places: NDArray[np.float64]
    offsets: NDArray[np.int64]
    chosen: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raises ValueError when the parts do not fit each other."""
        lists = len(self.travellers)
        if not len(self.identities) == len(self.chosen) == len(self.offsets) - 1 == lists:
            raise ValueError(f"{lists} lists need as many identities and choices, and one offset more.")
        if self.places.shape != (int(self.offsets[-1]), len(PLACE_FIELDS)) or self.offsets[0] != 0:
            raise ValueError(
                f"The rows shown must be [{int(self.offsets[-1])}, {len(PLACE_FIELDS)}], as the offsets say."
            )
        lengths = np.diff(self.offsets)
        if (lengths < 0).any() or (self.chosen < -1).any() or (self.chosen >= lengths).any():
            raise ValueError("A choice must be a position in its list, or -1.")

    def __len__(self) -> int:
        return len(self.chosen)

    def subset(self, which: NDArray[np.int64]) -> ShownLists:
        """The lists with these numbers, in this order."""
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
class Alternatives:
    """Lists as a linear problem: alternative ``j`` of list ``l`` has the utility ``design[l, j] @ weights``.

    ``design`` is float64 [L, J + 1, weights]; the last alternative is choosing nothing, which is ``taken`` [L] where
    nothing was. ``present`` [L, J + 1] is false where a list is shorter than J.
    """

    design: NDArray[np.float64]
    present: NDArray[np.bool_]
    taken: NDArray[np.int64]


class Prepared:
    """The features of many lists, of which :class:`Alternatives` are made a few thousand at a time.

    Raises ModelError when a value is not finite.
    """

    def __init__(self, lists: ShownLists) -> None:
        self._facts = traveller_features(lists.travellers)
        self._features = place_features(lists.places)
        if not (np.isfinite(self._facts).all() and np.isfinite(self._features).all()):
            raise ModelError("A shown place or its traveller holds a value that is not a finite number.")
        self._lists = lists
        self._budgets = budgets(lists.travellers)

    def alternatives(self, start: int, stop: int) -> Alternatives:
        """Lists ``start:stop`` as a linear problem."""
        offsets = self._lists.offsets[start : stop + 1]
        lengths = np.diff(offsets)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        rows = slice(int(offsets[0]), int(offsets[-1]))
        positions = np.arange(rows.start, rows.stop) - np.repeat(offsets[:-1], lengths)
        width = int(lengths.max(initial=0))
        products = self._products(rows, owners + start)
        design = np.zeros((len(lengths), width + 1, products.shape[1] + len(OUTSIDE_TERMS)))
        design[owners, positions, : products.shape[1]] = products
        design[:, width, products.shape[1] :] = self._facts[start:stop, _OUTSIDE_ROWS]
        present = np.arange(width + 1) < lengths[:, None]
        present[:, width] = True
        chosen = self._lists.chosen[start:stop]
        return Alternatives(design, present, np.where(chosen < 0, width, chosen))

    def _products(self, rows: slice, owners: NDArray[np.intp]) -> NDArray[np.float64]:
        """The features that a place's weights are for, [rows, terms + budget terms]."""
        facts, features = self._facts[owners], self._features[rows]
        spent = self._budgets[owners]
        over = (prices(self._lists.places[rows]) > spent).astype(np.float64)
        beyond = over * (features[:, _LOG_PRICE] - log_money(spent))
        products = np.column_stack([facts[:, _TERM_ROWS] * features[:, _TERM_COLUMNS], over, beyond])
        assert products.shape[1] == len(TERMS) + len(BUDGET_TERMS)  # the order of WEIGHT_NAMES
        return products


def choice_probabilities(model: Model, lists: ShownLists) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(chosen | its list and choosing nothing) of every row [M], and of nothing [L]."""
    prepared = Prepared(lists)
    rows, nothing = [np.empty(0)], [np.empty(0)]
    for start, stop in chunks(len(lists)):
        part = prepared.alternatives(start, stop)
        utilities = np.where(part.present, part.design @ model.weights, -np.inf)
        chances, rest = probabilities(utilities[:, :-1], utilities[:, -1])
        rows.append(chances[part.present[:, :-1]])
        nothing.append(rest)
    return np.concatenate(rows), np.concatenate(nothing)


def chunks(lists: int, size: int = 4096) -> list[tuple[int, int]]:
    """Spans of at most ``size`` lists, so that memory does not grow with how many there are."""
    return [(start, min(start + size, lists)) for start in range(0, lists, size)]
