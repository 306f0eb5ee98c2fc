"""A first model, for a catalogue without any recorded choices."""

from __future__ import annotations

from typing import Final

import numpy as np

from placerank.domain import WISHES
from placerank.ranking.features import RATINGS, WEIGHT_NAMES
from placerank.ranking.model import Model

#: Round numbers, chosen by judgement with one set of simulated choices at hand. They say that the budget is a limit,
#: that families refuse places with a very low family rating, and roughly what a rating point is worth. Evaluate them on
#: other choices than those.
_WEIGHTS: Final = {
    **{f"one*{rating}": 0.4 for rating in RATINGS},
    # A met wish is worth one and a half rating points, because the traveller asked for it.
    **{f"{wish}*{has}": 0.6 for wish, has in WISHES},
    "one*meals": 0.05,
    # Half the price gives only a little more utility: the budget weights below decide.
    "one*log_price": -0.05,
    # Nobody pays more than the budget: no rating outweighs it. Far above the budget is worse than just above it.
    "over_budget": -8.0,
    "log_over_budget": -1.0,
    # Parties with children refuse a very low family rating. They prefer a high one, and places for children.
    "kids*family_poor": -4.0,
    "kids*family_rating": 0.1,
    "kids*children": 0.2,
    "old*service_rating": 0.1,
    "young*leisure_rating": 0.1,
    "sport*outdoor_rating": 0.1,
    # Nothing is chosen if no place comes near the utility of ratings in the middle of the scale.
    "outside:one": 4.0,
}


def prior() -> Model:
    """A model with hand-chosen weights for the budget, the wishes, the ratings and the ages of the party."""
    unknown = _WEIGHTS.keys() - set(WEIGHT_NAMES)
    assert not unknown, unknown  # a term was renamed, and its weight above was not
    return Model("prior", np.array([_WEIGHTS.get(name, 0.0) for name in WEIGHT_NAMES]))
