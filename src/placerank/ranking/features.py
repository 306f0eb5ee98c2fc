"""Features of travellers and of places. Training and serving use the same code.

A utility is a sum of products of one traveller feature and one place feature (:data:`TERMS`), so scoring a catalogue
takes one inner product per place. The part that depends on the traveller is computed once per request, the part that
depends on the place once per catalogue (structural re-parameterisation, arXiv 2602.23105). The width of the inner
product is the number of place features, not the number of terms (rank-aware decomposition, arXiv 2605.27450).
:data:`BUDGET_TERMS` are not such products and are added separately. They apply if a place costs more than the budget:
nobody pays more, and a smooth function of the price is not sharp enough to express this.

Prices and budgets are per night, whatever the number of nights and the size of the party.

The terms have two parts. :data:`BASE_TERMS` can be fitted on little data. :data:`RICH_TERMS` need more data: they let
ratings saturate, give extra utility to wishes that are met together, and add a squared log price. If a model leaves
their weights at zero, they cost nothing when it serves.
"""

from __future__ import annotations

from itertools import combinations
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from placerank.domain import PLACE_FIELDS, WISHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placerank.domain import Traveller

#: Increase it when a name, its meaning or an order below changes. Models of unknown versions are refused.
FEATURE_VERSION: Final = 2

RATINGS: Final = ("family_rating", "outdoor_rating", "food_rating", "leisure_rating", "service_rating", "user_score")

#: Pairs of wishes, as indices into ``WISHES``.
_PAIRS: Final = tuple(combinations(range(len(WISHES)), 2))

#: Columns of :func:`traveller_features`. ``kids``: 1 if children come along. ``young`` and ``old``: shares of the party
#: aged 18..29 and 60 or more. ``wishes``: the number of wishes, W. Logarithms are natural. ``part:`` is wish / W^2,
#: ``both:`` is 2 * wish * wish / W^2. Multiplied by what a place has and summed, they are the squared share of met
#: wishes.
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
#: Approximate mean of each column of :func:`traveller_features` over travellers of all kinds. It only decides by which
#: columns a large catalogue is split into blocks. Answers do not depend on it.
TYPICAL: Final = (
    1.0,
    *(0.4 for _ in WISHES),
    2.3,
    0.25,
    0.3,
    0.2,
    6.0,
    1.7,
    0.8,
    *(0.1 for _ in WISHES),
    *(0.03 for _ in _PAIRS),
)
#: Columns of :func:`place_features`. ``meals``: number of meals, 0..3. ``family_poor``: 1 for a family rating below 1.
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

#: Products that can be fitted on little data: (traveller feature, place feature).
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
#: All products whose sum is the utility, without the budget terms.
TERMS: Final = (*BASE_TERMS, *RICH_TERMS)
#: Terms that make a place unacceptable, not only less attractive. The budget terms do this too.
LIMIT_TERMS: Final = (("kids", "family_poor"),)
#: For a place over the budget: 1, and log(price / budget). For other places both are 0.
BUDGET_TERMS: Final = ("over_budget", "log_over_budget")
#: Traveller features that the utility of choosing nothing depends on.
OUTSIDE_TERMS: Final = ("one", "log_budget", "log_nights", "wishes", "kids")

#: A name for each weight of a model, in order.
WEIGHT_NAMES: Final = (
    *(f"{traveller}*{place}" for traveller, place in TERMS),
    *BUDGET_TERMS,
    *(f"outside:{name}" for name in OUTSIDE_TERMS),
)

#: Groups of terms whose weights are usually similar. Training pulls each weight toward the common part of its group.
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
#: Reads all wishes of a traveller in one call.
_wishes_of = attrgetter(*(wish for wish, _ in WISHES))
_FIRSTS: Final = [one for one, _ in _PAIRS]
_SECONDS: Final = [other for _, other in _PAIRS]
#: Index of the first of the three logarithms, which are the last columns of ``_facts``.
_BUDGET: Final = TRAVELLER_FEATURES.index("log_budget")
_MEAL_COLUMNS: Final = tuple(PLACE_FIELDS.index(name) for name in ("breakfast", "lunch", "dinner"))


def log_money(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of amounts of money in 0..1e308, which are first clipped to 0.01..1e9."""
    logs: NDArray[np.float64] = np.log(np.clip(amounts, *_MONEY))
    return logs


def place_features(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features [N, len(PLACE_FEATURES)] of places given as [N, 17] in the order of ``domain.PLACE_FIELDS``.

    Finite values give finite features: ratings are clipped to 0..10. NaN stays NaN, and the caller has to refuse it.
    """
    ratings = np.clip(values[:, _RATING_COLUMNS], *_RATING)
    meals = values[:, _MEAL_COLUMNS].sum(axis=1)
    poor = np.where(ratings[:, 0] < _POOR, 1.0, 0.0)
    flags, log_price = values[:, _FLAG_COLUMNS], log_money(values[:, _PRICE])
    pairs = flags[:, _FIRSTS] * flags[:, _SECONDS]
    return np.column_stack([ratings, flags, meals, log_price, poor, np.sqrt(ratings), pairs, log_price**2])


def prices(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prices per night [N] of places given as [N, 17]."""
    return values[:, _PRICE]


def budgets(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Budgets per night [B], never rounded."""
    return np.array([traveller.budget for traveller in travellers], dtype=np.float64)


def traveller_features(travellers: Sequence[Traveller]) -> NDArray[np.float64]:
    """Features [B, len(TRAVELLER_FEATURES)] of travellers; finite for every valid traveller."""
    rows = np.array([_facts(traveller) for traveller in travellers], dtype=np.float64)
    rows = rows.reshape(len(travellers), _BUDGET + 3)
    rows[:, _BUDGET] = log_money(rows[:, _BUDGET])
    rows[:, _BUDGET + 1 :] = np.log(np.maximum(rows[:, _BUDGET + 1 :], 1.0))
    wishes = rows[:, 1 : 1 + len(WISHES)]
    scale = 1.0 / np.maximum(rows[:, [1 + len(WISHES)]], 1.0) ** 2
    return np.hstack([rows, wishes * scale, 2.0 * wishes[:, _FIRSTS] * wishes[:, _SECONDS] * scale])


def _facts(traveller: Traveller) -> tuple[float, ...]:
    wishes = _wishes_of(traveller)
    ages = traveller.people_age
    party = len(ages) or 1
    young = sum(1 for age in ages if 18 <= age < 30) / party
    old = sum(1 for age in ages if age >= 60) / party
    kids = traveller.children_num > 0
    return (1.0, *wishes, sum(wishes), kids, young, old, traveller.budget, traveller.nights, traveller.people_num)
