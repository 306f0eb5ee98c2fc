"""Features of travellers and of places, the same code for learning and for serving.

A utility is a sum of products of one traveller feature and one place feature (:data:`TERMS`), so a whole catalogue is
scored by one inner product a place: what depends on the traveller alone is folded together once a request and what
depends on the place alone once a catalogue (structural re-parameterisation, arXiv 2602.23105; the inner product is
only as wide as there are different place features, however many terms there are: rank-aware decomposition,
arXiv 2605.27450). One thing is not such a product and stands apart: whether a place costs more than the budget
(:data:`BUDGET_TERMS`), which nobody pays and which no smooth curve says sharply enough.

All money is for one night: a place's price against the traveller's budget, whatever the nights and the party.

The terms come in two parts. :data:`BASE_TERMS` are what little data can carry. :data:`RICH_TERMS` let ratings saturate,
let wishes that are met together count for more than each alone, and bend the price; they need more data, and a model
that leaves them at zero pays nothing for them when it serves.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.domain import PLACE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller

#: Raised whenever a name, its meaning or an order below changes: a model of another version is refused.
FEATURE_VERSION: Final = 2

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

#: Pairs of wishes, as numbers in ``WISHES``.
_PAIRS: Final = tuple(combinations(range(len(WISHES)), 2))

#: Columns of :func:`traveller_features`. ``kids``: children come along; ``young`` and ``old``: share of the party
#: of 18..29 and of 60 or more; ``wishes``: how many there are; the logarithms are natural ones.
#: ``part:`` a wish over the square of how many there are, ``both:`` twice a pair of wishes over it: times what a place
#: has they add up to the square of the share of wishes that is met.
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
    *(f"part:{wish}" for wish, _ in WISHES),
    *(f"both:{WISHES[one][0]}+{WISHES[other][0]}" for one, other in _PAIRS),
)
#: Columns of :func:`place_features`. ``meals``: how many of three; ``family_poor``: a family rating below 1.
PLACE_FEATURES: Final = (
    *RATINGS,
    *(has for _, has in WISHES),
    "children",
    "meals",
    "log_price",
    "family_poor",
    *(f"sqrt_{rating}" for rating in RATINGS),
    *(f"{WISHES[one][1]}+{WISHES[other][1]}" for one, other in _PAIRS),
    "squared_log_price",
)

#: A column that every model has.
LOG_PRICE: Final = PLACE_FEATURES.index("log_price")

#: Products that little data can carry: (traveller feature, place feature).
BASE_TERMS: Final = (
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
#: Products that need more data.
RICH_TERMS: Final = (
    *(("one", f"sqrt_{rating}") for rating in RATINGS),
    *((f"part:{wish}", has) for wish, has in WISHES),
    *((f"both:{WISHES[one][0]}+{WISHES[other][0]}", f"{WISHES[one][1]}+{WISHES[other][1]}") for one, other in _PAIRS),
    ("one", "squared_log_price"),
    ("log_budget", "log_price"),
    ("log_budget", "user_score"),
)
#: The products that make a utility.
TERMS: Final = (*BASE_TERMS, *RICH_TERMS)
#: What is out of the question for a traveller rather than less liked, besides the budget.
LIMIT_TERMS: Final = (("kids", "family_poor"),)
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

#: Terms of one kind, which mostly count alike: learning pulls each toward what they have in common.
POOLS: Final = (
    tuple(f"one*{rating}" for rating in RATINGS),
    tuple(f"{wish}*{has}" for wish, has in WISHES),
    tuple(f"one*sqrt_{rating}" for rating in RATINGS),
    tuple(f"{one}*{other}" for one, other in RICH_TERMS if one.startswith(("part:", "both:"))),
)

_MONEY: Final = (1e-2, 1e9)
_RATING: Final = (0.0, 10.0)
_POOR: Final = 1.0
_PRICE: Final = PLACE_FIELDS.index("price")
_RATING_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in RATINGS)
_FLAG_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in (*(has for _, has in WISHES), "children"))
_FIRSTS: Final = [one for one, _ in _PAIRS]
_SECONDS: Final = [other for _, other in _PAIRS]
#: The three logarithms end what is known of a traveller at first hand.
_BUDGET: Final = TRAVELLER_FEATURES.index("log_budget")
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
    flags, log_price = values[:, _FLAG_COLUMNS], log_money(values[:, _PRICE])
    pairs = flags[:, _FIRSTS] * flags[:, _SECONDS]
    return np.column_stack([ratings, flags, meals, log_price, poor, np.sqrt(ratings), pairs, log_price**2])


def prices(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Money for one night [N] of places given as [N, 17]."""
    return values[:, _PRICE]


def budgets(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Money for one night [B], never rounded."""
    return np.array([traveller.budget for traveller in travellers], dtype=np.float64)


def traveller_features(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Features [B, len(TRAVELLER_FEATURES)] of travellers; finite for every valid one."""
    rows = np.array([_facts(traveller) for traveller in travellers], dtype=np.float64)
    rows = rows.reshape(len(travellers), _BUDGET + 3)
    rows[:, _BUDGET] = log_money(rows[:, _BUDGET])
    rows[:, _BUDGET + 1 :] = np.log(np.maximum(rows[:, _BUDGET + 1 :], 1.0))
    wishes = rows[:, 1 : 1 + len(WISHES)]
    scale = 1.0 / np.maximum(rows[:, [1 + len(WISHES)]], 1.0) ** 2
    return np.hstack([rows, wishes * scale, 2.0 * wishes[:, _FIRSTS] * wishes[:, _SECONDS] * scale])


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
