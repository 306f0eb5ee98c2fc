"""The scores expected of a version when it serves, and counterfactual estimates from explored answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from placerank.ranking.judging.counterfactual import Estimate, doubly_robust, first_places, ips, self_normalised
from placerank.ranking.learning.training import split
from placerank.ranking.lists import choice_probabilities, list_utilities
from placerank.ranking.scoring.scorer import Scorer
from placerank.rollout.canary import Expected
from placerank.worker.training.datasets import shown_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placerank.db.learning import AnsweredList
    from placerank.domain import Traveller
    from placerank.ranking.catalogue import PlaceTable
    from placerank.ranking.lists import ShownLists
    from placerank.ranking.model import Model

#: Upper bound of the travellers used: deciles need no more.
_MOST: Final = 500
_AT_ONCE: Final = 64


def expected_scores(model: Model, table: PlaceTable, travellers: Sequence[Traveller], shown: int) -> Expected:
    """The distribution of the best place's score over these travellers, on this catalogue."""
    if not len(table):
        return Expected()
    scorer, asked = Scorer(model, table), list(travellers[-_MOST:])
    parts = (scorer.rank(asked[start : start + _AT_ONCE], shown) for start in range(0, len(asked), _AT_ONCE))
    return Expected.of([ranking.scores[0] for part in parts for ranking in part])


def explored_figures(
    champion: Model, challenger: Model, answered: Sequence[AnsweredList], seed: int
) -> dict[str, Any] | None:
    """Estimates from explored answers of how often travellers would take the first place of each of the two models.

    Only travellers count that the training has held out, so no model is judged by a choice that it was fitted on.
    Estimates from too few answers are marked as not conclusive. None if no held-out traveller has an explored answer.
    """
    if len({one.identity for one in answered}) < 2:
        return None
    # The split of all lists, as training makes it. A split of the explored lists alone has another border if none of
    # their travellers is held out: it would take the nearest one, whom the model has seen.
    _, unseen = split([one.identity for one in answered], seed)
    explored = [answered[one] for one in unseen if answered[one].explored and answered[one].places]
    if not explored:
        return None
    lists = shown_lists(explored)
    return {"champion": _estimates(champion, lists), "challenger": _estimates(challenger, lists)}


def _estimates(model: Model, lists: ShownLists) -> dict[str, Any]:
    # The places of an explored answer are in random order: each was equally likely to come first.
    logged = first_places(model, lists, 1.0 / np.diff(lists.offsets))
    chances, _ = choice_probabilities(model, lists)
    utilities, firsts = list_utilities(model, lists), lists.offsets[:-1]
    spans = zip(firsts, lists.offsets[1:], strict=True)
    best = np.array([start + int(utilities[start:stop].argmax()) for start, stop in spans])
    return {
        "ips": _figures(ips(logged)),
        "self_normalised": _figures(self_normalised(logged)),
        "doubly_robust": _figures(doubly_robust(logged, chances[firsts], chances[best])),
    }


def _figures(estimate: Estimate) -> dict[str, Any]:
    return {**asdict(estimate), "conclusive": estimate.conclusive}
