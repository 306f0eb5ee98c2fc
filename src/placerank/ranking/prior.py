"""A first model for a catalogue that nobody has chosen from yet."""

from __future__ import annotations

from typing import Final

import numpy as np

from placerank.ranking.features import RATINGS, WEIGHT_NAMES, WISHES
from placerank.ranking.model import Model

#: Round numbers by judgement, made with one set of simulated choices in view: that the budget is a limit, that families
#: refuse what families warn of, and about what a rating point is worth. Judge them on other choices than those.
_WEIGHTS: Final = {
    **{f"one*{rating}": 0.4 for rating in RATINGS},
    # A wish met is worth a rating point and a half: it was asked for.
    **{f"{wish}*{has}": 0.6 for wish, has in WISHES},
    "one*meals": 0.05,
    # A place at half the price is worth a little more; the budget below is what decides.
    "one*log_price": -0.05,
    # Nobody pays more than the budget: no rating makes up for it, and far above it is worse than just above.
    "over_budget": -8.0,
    "log_over_budget": -1.0,
    # With children, a place that families warn of is out, and one that they like or that is made for them is better.
    "kids*family_poor": -4.0,
    "kids*family_rating": 0.1,
    "kids*children": 0.2,
    "old*service_rating": 0.1,
    "young*leisure_rating": 0.1,
    "sport*outdoor_rating": 0.1,
    # Nothing is chosen when no place comes near what the middle of the scale gives.
    "outside:one": 4.0,
}


def prior() -> Model:
    """A model with hand-chosen weights: within the budget, wishes met, well rated, fit for the ages of the party."""
    unknown = _WEIGHTS.keys() - set(WEIGHT_NAMES)
    assert not unknown, unknown  # a term renamed without its weight
    return Model("prior", np.array([_WEIGHTS.get(name, 0.0) for name in WEIGHT_NAMES]))
