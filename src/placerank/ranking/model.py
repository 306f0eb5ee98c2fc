"""A conditional logit with an outside option.

The traveller takes the place of greatest utility plus noise, or nothing, which has a utility too (McFadden 1974,
"Conditional logit analysis of qualitative choice behavior"). Weights are kept for features as they are: whatever
scaling learning used is folded into them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from placerank.ranking import artifact
from placerank.ranking.errors import ModelError
from placerank.ranking.features import (
    BUDGET_TERMS,
    OUTSIDE_TERMS,
    PLACE_FEATURES,
    TERMS,
    TRAVELLER_FEATURES,
    WEIGHT_NAMES,
    log_money,
    place_features,
    prices,
    traveller_features,
)
from placerank.ranking.features import budgets as budgets_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller

Kind = Literal["prior", "logit"]

#: Features are at most about 50, so that utilities of weights up to here are finite in float32, far from its end.
GREATEST_WEIGHT: Final = 1e6
_TERM_ROWS: Final = np.array([TRAVELLER_FEATURES.index(name) for name, _ in TERMS])
_TERM_COLUMNS: Final = np.array([PLACE_FEATURES.index(name) for _, name in TERMS])
_OUTSIDE_ROWS: Final = np.array([TRAVELLER_FEATURES.index(name) for name in OUTSIDE_TERMS])
_BUDGET: Final = len(TERMS)
_OUTSIDE: Final = len(TERMS) + len(BUDGET_TERMS)


@dataclass(frozen=True, eq=False)
class Tastes:
    """What a model makes of travellers, all float64: the traveller's side of every utility.

    ``places`` [B, D] weighs the place features, ``outside`` [B] is the utility of nothing; a place over ``budgets``
    [B] gets ``over`` [B] + ``over_slope`` * log price on top.
    """

    places: NDArray[np.float64]
    outside: NDArray[np.float64]
    budgets: NDArray[np.float64]
    over: NDArray[np.float64]
    over_slope: float


@dataclass(frozen=True, eq=False)
class Model:
    """Immutable weights, one for each of ``features.WEIGHT_NAMES``, and what is known of how they came about.

    Raises ModelError when a weight is missing, not finite, or beyond ±1e6.
    """

    kind: Kind
    weights: NDArray[np.float64]
    metrics: Mapping[str, float] = field(default_factory=dict)
    normaliser: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weights = np.array(self.weights, dtype=np.float64)
        if weights.shape != (len(WEIGHT_NAMES),):
            raise ModelError(f"A model needs {len(WEIGHT_NAMES)} weights, this one has the shape {weights.shape}.")
        if not (np.abs(weights) <= GREATEST_WEIGHT).all():
            raise ModelError("A weight of the model is not a number, not finite, or beyond a million.")
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))
        object.__setattr__(self, "normaliser", MappingProxyType(dict(self.normaliser)))

    def tastes(self, travellers: Sequence[Traveller]) -> Tastes:
        """The travellers' side of the utilities; a traveller's is the same bits in whatever batch it comes."""
        facts = traveller_features(travellers)
        slope = float(self.weights[_BUDGET + 1])
        budgets = budgets_of(travellers)
        # Sums along a running axis add in a fixed order, a matrix product does not.
        return Tastes(
            places=np.add.accumulate(facts.T[:, :, None] * self._weights_by_side[:, None, :])[-1],
            outside=np.add.accumulate(facts.T[_OUTSIDE_ROWS] * self.weights[_OUTSIDE:, None])[-1],
            budgets=budgets,
            over=self.weights[_BUDGET] - slope * log_money(budgets),
            over_slope=slope,
        )

    def utilities(
        self, travellers: Sequence[Traveller], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Utilities [B, N] of places given as [N, 17], and [B] of choosing nothing: the plain float64 form.

        The scorer's order is that of these numbers exactly. Raises ModelError when one of them is not finite.
        """
        tastes = self.tastes(travellers)
        features = place_features(values)
        sums = np.zeros((len(travellers), len(values)))
        for column in range(len(PLACE_FEATURES)):
            sums += tastes.places[:, column, None] * features[:, column]
        log_price = features[:, PLACE_FEATURES.index("log_price")]
        penalty = tastes.over[:, None] + tastes.over_slope * log_price
        sums += np.where(prices(values) > tastes.budgets[:, None], penalty, 0.0)
        if not (np.isfinite(sums).all() and np.isfinite(tastes.outside).all()):
            raise ModelError("A utility is not a finite number: the places or the travellers hold values that are not.")
        return sums, tastes.outside

    def to_artifact(self) -> bytes:
        """The model as one safetensors blob with a sealed JSON manifest; equal models give equal bytes."""
        return self._artifact

    @classmethod
    def from_artifact(cls, data: bytes) -> Model:
        """The model in a blob of :meth:`to_artifact`. Raises ModelError when it is damaged or of another version."""
        contents = artifact.unpack(data)
        return cls(contents.kind, contents.weights, contents.metrics, contents.normaliser)

    @property
    def digest(self) -> str:
        """The sha256 of the artifact, in hexadecimal."""
        return hashlib.sha256(self._artifact).hexdigest()

    @cached_property
    def _artifact(self) -> bytes:
        return artifact.pack(artifact.Contents(self.kind, self.weights, self.metrics, self.normaliser))

    @cached_property
    def _weights_by_side(self) -> NDArray[np.float64]:
        """The weights of the terms as a matrix [traveller features, place features], zero where there is no term."""
        matrix = np.zeros((len(TRAVELLER_FEATURES), len(PLACE_FEATURES)))
        matrix[_TERM_ROWS, _TERM_COLUMNS] = self.weights[:_BUDGET]
        return matrix


def probabilities(
    utilities: NDArray[np.float64], outside: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(chosen) [..., k] of places with ``utilities`` [..., k], and [...] of choosing nothing; together they are 1.

    A utility of -inf stands for no place.
    """
    top = np.maximum(utilities.max(axis=-1, initial=-np.inf), outside)
    weights = np.exp(utilities - top[..., None])
    nothing = np.exp(outside - top)
    total = weights.sum(axis=-1) + nothing
    return weights / total[..., None], nothing / total
