"""Features of travellers and of places, the same code for learning and for serving.

A utility is a sum of products of one traveller feature and one place feature (:data:`TERMS`), so a whole catalogue is
scored by one inner product a place: what depends on the traveller alone is folded together once a request and what
depends on the place alone once a catalogue (structural re-parameterisation, arXiv 2602.23105; the inner product is
only as wide as there are different place features, however many terms there are: rank-aware decomposition,
arXiv 2605.27450). One thing is not such a product and stands apart: whether a place costs more than the budget
(:data:`BUDGET_TERMS`), which nobody pays and which no smooth curve says sharply enough.

All money is for one night: a place's price against the traveller's budget, whatever the nights and the party.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.domain import PLACE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller

#: Raised whenever a name, its meaning or an order below changes: a model of another version is refused.
FEATURE_VERSION: Final = 1

#: What a traveller wishes, and what a place must have for it.
WISHES: Final = (
    ("pool", "has_pool"),
    ("spa", "has_spa"),
    ("pet_friendly", "animals"),
    ("lake", "near_lake"),
    ("mountain", "near_mountains"),
    ("sport", "has_sport"),
)
RATINGS: Final = ("family_rating", "outdoor_rating", "food_rating", "leisure_rating", "service_rating", "user_score")

#: Columns of :func:`traveller_features`. ``kids``: children come along; ``young`` and ``old``: share of the party
#: of 18..29 and of 60 or more; ``wishes``: how many there are; the logarithms are natural ones.
TRAVELLER_FEATURES: Final = (
    "one",
    *(wish for wish, _ in WISHES),
    "wishes",
    "kids",
    "young",
    "old",
    "log_budget",
    "log_nights",
    "log_people",
)
#: Columns of :func:`place_features`. ``meals``: how many of three; ``family_poor``: a family rating below 1.
PLACE_FEATURES: Final = (*RATINGS, *(has for _, has in WISHES), "children", "meals", "log_price", "family_poor")

#: The products that make a utility: (traveller feature, place feature).
TERMS: Final = (
    *(("one", rating) for rating in RATINGS),
    *WISHES,
    ("one", "log_price"),
    ("one", "meals"),
    ("log_nights", "meals"),
    ("log_nights", "log_price"),
    ("log_people", "log_price"),
    ("kids", "family_poor"),
    ("kids", "family_rating"),
    ("kids", "children"),
    ("old", "service_rating"),
    ("young", "leisure_rating"),
    ("sport", "outdoor_rating"),
)
#: For a place that costs more than the budget: that it does, and log(price / budget).
BUDGET_TERMS: Final = ("over_budget", "log_over_budget")
#: Traveller features that the utility of choosing nothing depends on.
OUTSIDE_TERMS: Final = ("one", "log_budget", "log_nights", "wishes", "kids")

#: A name for each weight of a model, in order.
WEIGHT_NAMES: Final = (
    *(f"{traveller}*{place}" for traveller, place in TERMS),
    *BUDGET_TERMS,
    *(f"outside:{name}" for name in OUTSIDE_TERMS),
)

_MONEY: Final = (1e-2, 1e9)
_RATING: Final = (0.0, 10.0)
_POOR: Final = 1.0
_PRICE: Final = PLACE_FIELDS.index("price")
_RATING_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in RATINGS)
_FLAG_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in (*(has for _, has in WISHES), "children"))
_MEAL_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in ("breakfast", "lunch", "dinner"))


def log_money(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of money in 0..1e308, kept within that of a cent and of a billion."""
    logs: NDArray[np.float64] = np.log(np.clip(amounts, *_MONEY))
    return logs


def place_features(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features [N, len(PLACE_FEATURES)] of places given as [N, 17] in the order of ``domain.PLACE_FIELDS``.

    Finite for all finite values: ratings are kept within 0..10. NaN stays NaN, for the caller to refuse.
    """
    ratings = np.clip(values[:, _RATING_COLUMNS], *_RATING)
    meals = values[:, _MEAL_COLUMNS].sum(axis=1)
    poor = np.where(ratings[:, 0] < _POOR, 1.0, 0.0)
    return np.column_stack([ratings, values[:, _FLAG_COLUMNS], meals, log_money(values[:, _PRICE]), poor])


def prices(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Money for one night [N] of places given as [N, 17]."""
    return values[:, _PRICE]


def budgets(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Money for one night [B], never rounded."""
    return np.array([traveller.budget for traveller in travellers], dtype=np.float64)


def traveller_features(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Features [B, len(TRAVELLER_FEATURES)] of travellers; finite for every valid one."""
    rows = np.array([_facts(traveller) for traveller in travellers], dtype=np.float64)
    rows = rows.reshape(len(travellers), len(TRAVELLER_FEATURES))
    rows[:, -3] = log_money(rows[:, -3])
    rows[:, -2:] = np.log(np.maximum(rows[:, -2:], 1.0))
    return rows


def _facts(traveller: Traveller) -> tuple[float, ...]:
    wishes = (
        traveller.pool,
        traveller.spa,
        traveller.pet_friendly,
        traveller.lake,
        traveller.mountain,
        traveller.sport,
    )
    ages = traveller.people_age
    party = len(ages) or 1
    young = sum(1 for age in ages if 18 <= age < 30) / party
    old = sum(1 for age in ages if age >= 60) / party
    kids = traveller.children_num > 0
    return (1.0, *wishes, sum(wishes), kids, young, old, traveller.budget, traveller.nights, traveller.people_num)
