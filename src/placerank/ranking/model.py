"""A choice model with an outside option.

The traveller takes the option with the greatest utility plus noise: one of the places, or nothing (McFadden 1974,
"Conditional logit analysis of qualitative choice behavior"). The weights apply to unscaled features: the scaling that
training uses is folded into them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from placerank.ranking import artifact
from placerank.ranking.artifact import Kind
from placerank.ranking.choice import PLAIN, Mixture, probabilities
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
    TYPICAL,
    WEIGHT_NAMES,
    log_money,
    place_features,
    prices,
    traveller_features,
)
from placerank.ranking.features import budgets as budgets_of
from placerank.ranking.manifest import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller

__all__ = ["GREATEST_WEIGHT", "Kind", "Mixture", "Model", "Tastes", "probabilities"]

#: A product of two features is below 1000, so utilities with weights up to this bound are far below float32's maximum.
GREATEST_WEIGHT: Final = 1e6
_TERM_ROWS: Final = np.array([TRAVELLER_FEATURES.index(name) for name, _ in TERMS])
_TERM_COLUMNS: Final = np.array([PLACE_FEATURES.index(name) for _, name in TERMS])
_OUTSIDE_ROWS: Final = np.array([TRAVELLER_FEATURES.index(name) for name in OUTSIDE_TERMS])
_BUDGET: Final = len(TERMS)
_LIMITS: Final = [TERMS.index(term) for term in LIMIT_TERMS]
_LIMIT_ROWS: Final = [TRAVELLER_FEATURES.index(name) for name, _ in LIMIT_TERMS]
_LIMIT_COLUMNS: Final = [PLACE_FEATURES.index(name) for _, name in LIMIT_TERMS]
#: Every model uses these rows and columns, even where their weights are zero.
_BASE_ROWS: Final = {TRAVELLER_FEATURES.index(name) for name, _ in BASE_TERMS} | {
    TRAVELLER_FEATURES.index(name) for name in OUTSIDE_TERMS
}
_BASE_COLUMNS: Final = {PLACE_FEATURES.index(name) for _, name in BASE_TERMS}
_OUTSIDE: Final = len(TERMS) + len(BUDGET_TERMS)


@dataclass(frozen=True, eq=False)
class Tastes:
    """The part of the utilities that depends on the travellers, all float64.

    ``places`` [B, D] are weights of the D place features that the model uses (``Model.columns``). ``outside`` [B] is
    the utility of choosing nothing. A place over ``budgets`` [B] gets ``over`` [B] + ``over_slope`` * log price in
    addition. ``limits`` [B, limits] are weights of the place features of ``LIMIT_TERMS``. ``over_budget`` is what a
    place just over the budget gets in addition.
    """

    places: NDArray[np.float64]
    outside: NDArray[np.float64]
    budgets: NDArray[np.float64]
    over: NDArray[np.float64]
    over_slope: float
    over_budget: float
    limits: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Model:
    """Immutable weights, one for each of ``features.WEIGHT_NAMES``, and facts about their training.

    Raises ModelError when a weight is missing, not finite, or beyond ±1e6.
    """

    kind: Kind
    weights: NDArray[np.float64]
    metrics: Mapping[str, float] = field(default_factory=dict)
    normaliser: Mapping[str, float] = field(default_factory=dict)
    mixture: Mixture = PLAIN
    #: Facts about the lists that it was trained on: their number, number of travellers, period and digest.
    data: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weights = np.array(self.weights, dtype=np.float64)
        if weights.shape != (len(WEIGHT_NAMES),):
            raise ModelError(f"A model needs {len(WEIGHT_NAMES)} weights, this one has the shape {weights.shape}.")
        if not (np.abs(weights) <= GREATEST_WEIGHT).all():
            raise ModelError("A weight of the model is not a number, not finite, or beyond a million.")
        if not self.mixture.usable:
            raise ModelError(f"The model's mixture cannot be used: {self.mixture}.")
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))
        object.__setattr__(self, "normaliser", MappingProxyType(dict(self.normaliser)))
        object.__setattr__(self, "data", MappingProxyType(dict(self.data)))

    def tastes(self, travellers: Sequence[Traveller]) -> Tastes:
        """The travellers' part of the utilities; each traveller's is bit-identical in every batch."""
        facts = traveller_features(travellers)
        slope = float(self.weights[_BUDGET + 1])
        budgets = budgets_of(travellers)
        # ``accumulate`` adds in a fixed order. A matrix product does not.
        return Tastes(
            places=np.add.accumulate(facts.T[self._rows, :, None] * self._folded[:, None, :])[-1],
            outside=np.add.accumulate(facts.T[_OUTSIDE_ROWS] * self.weights[_OUTSIDE:, None])[-1],
            budgets=budgets,
            over=self.weights[_BUDGET] - slope * log_money(budgets),
            over_slope=slope,
            over_budget=float(self.weights[_BUDGET]),
            limits=facts[:, _LIMIT_ROWS] * self.weights[_LIMITS],
        )

    def acceptance(
        self, tastes: Tastes, owners: NDArray[np.intp], features: NDArray[np.float64], over: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The limit and budget terms of the utilities [M], of places with ``features`` [M, ≥D]."""
        penalty = tastes.over[owners] + tastes.over_slope * features[:, LOG_PRICE]
        limited: NDArray[np.float64] = (tastes.limits[owners] * features[:, _LIMIT_COLUMNS]).sum(axis=1)
        return limited + np.where(over, penalty, 0.0)

    def utilities(
        self, travellers: Sequence[Traveller], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Utilities [B, N] of places given as [N, 17], and [B] of choosing nothing, computed plainly in float64.

        The scorer's order is exactly the order of these numbers. Raises ModelError when one of them is not finite.
        """
        tastes = self.tastes(travellers)
        features = place_features(values)[:, self.columns]
        sums = np.zeros((len(travellers), len(values)))
        for column in range(len(self.columns)):
            sums += tastes.places[:, column, None] * features[:, column]
        log_price = features[:, LOG_PRICE]
        penalty = tastes.over[:, None] + tastes.over_slope * log_price
        sums += np.where(prices(values) > tastes.budgets[:, None], penalty, 0.0)
        if not (np.isfinite(sums).all() and np.isfinite(tastes.outside).all()):
            raise ModelError("A utility is not a finite number: a place or a traveller holds a value that is not.")
        return sums, tastes.outside

    def to_artifact(self) -> bytes:
        """The bytes that the model was read from, or else one safetensors blob with a sealed JSON manifest.

        Equal models that were not read give equal bytes.
        """
        return self._artifact

    @classmethod
    def from_artifact(cls, data: bytes) -> Model:
        """The model in a blob of :meth:`to_artifact`. Raises ModelError when it is damaged or of another version."""
        contents = artifact.unpack(data)
        model = cls(
            contents.kind, contents.weights, contents.metrics, contents.normaliser, contents.mixture, contents.data
        )
        # Packed again, by a newer version, it would be other bytes with another digest.
        vars(model)["_artifact"] = bytes(data)
        return model

    @classmethod
    def from_registry(cls, data: bytes, digest: str) -> Model:
        """The model in an artifact that the registry lists under ``digest``; raises ModelError where they differ too.

        So a version is never served, compared or exported under the digest of another.
        """
        model = cls.from_artifact(data)
        if model.digest != digest:
            raise ModelError(f"The model's digest is {model.digest}; the registry says {shown(digest)}.")
        return model

    def determined(self) -> dict[str, Any]:
        """Everything that training determines, in plain values: all of the artifact except which version wrote it."""
        return {
            "kind": self.kind,
            "weights": dict(zip(WEIGHT_NAMES, self.weights.tolist(), strict=True)),
            "metrics": dict(self.metrics),
            "normaliser": dict(self.normaliser),
            "mixture": asdict(self.mixture),
            "data": dict(self.data),
        }

    @property
    def digest(self) -> str:
        """The sha256 of the artifact, in hexadecimal."""
        return hashlib.sha256(self._artifact).hexdigest()

    @cached_property
    def _artifact(self) -> bytes:
        contents = artifact.Contents(self.kind, self.weights, self.metrics, self.normaliser, self.mixture, self.data)
        return artifact.pack(contents)

    @property
    def cost(self) -> int:
        """Number of products for each pair of a traveller and a place."""
        return len(self.columns)

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """Indices of the place features that the model uses; those of ``BASE_TERMS`` come first."""
        return _used(self._by_side, 0, _BASE_COLUMNS)

    @cached_property
    def column_weights(self) -> NDArray[np.float64]:
        """The weight of each of ``columns`` for a typical traveller, [D]. Answers do not depend on it."""
        weights: NDArray[np.float64] = np.abs(np.array(TYPICAL)[self._rows] @ self._folded)
        weights[LOG_PRICE] += abs(self.weights[_BUDGET + 1])
        return weights

    @cached_property
    def _rows(self) -> NDArray[np.intp]:
        return _used(self._by_side, 1, _BASE_ROWS)

    @cached_property
    def _folded(self) -> NDArray[np.float64]:
        return self._by_side[np.ix_(self._rows, self.columns)]

    @cached_property
    def _by_side(self) -> NDArray[np.float64]:
        """The weights of the terms as a matrix [traveller features, place features], zero where there is no term."""
        matrix = np.zeros((len(TRAVELLER_FEATURES), len(PLACE_FEATURES)))
        matrix[_TERM_ROWS, _TERM_COLUMNS] = self.weights[:_BUDGET]
        return matrix


def _used(weights: NDArray[np.float64], axis: int, always: set[int]) -> NDArray[np.intp]:
    weighed = set(np.flatnonzero(np.abs(weights).sum(axis=axis)).tolist())
    return np.array(sorted(always | weighed), dtype=np.intp)
