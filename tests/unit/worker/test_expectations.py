"""Counterfactual figures count held-out travellers only, wherever the explored answers happen to be."""

from __future__ import annotations

import json
from dataclasses import astuple

import numpy as np
import pytest

from placerank.db.learning import AnsweredList
from placerank.demo import synthetic
from placerank.domain import new_task_id
from placerank.ranking.learning.training import split
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.worker.training.expectations import explored_figures

SEED = 3
IDENTITIES = [f"traveller {number}" for number in range(30)]
SEEN, UNSEEN = ([IDENTITIES[one] for one in side] for side in split(IDENTITIES, SEED))


def answered(explored: list[str], shown: int = 5, identities: list[str] = IDENTITIES) -> list[AnsweredList]:
    """A list of each traveller; those of ``explored`` explore."""
    places = [tuple(float(value) for value in astuple(one)[1:]) for one in synthetic.places(shown, seed=1)]
    travellers = synthetic.travellers(len(identities), seed=1)
    return [
        AnsweredList(new_task_id(), identity, traveller, places, chosen=0, explored=identity in explored)
        for identity, traveller in zip(identities, travellers, strict=True)
    ]


def test_a_traveller_whom_the_model_has_seen_never_counts() -> None:
    """Of explored lists alone, a split would hold out the nearest traveller, whom training has not held out."""
    assert explored_figures(prior(), prior(), answered(SEEN), SEED) is None
    assert explored_figures(prior(), prior(), answered(SEEN[:2]), SEED) is None


@pytest.mark.parametrize("explored", [UNSEEN, UNSEEN[:1], [*SEEN, UNSEEN[0]]])
def test_every_held_out_traveller_counts(explored: list[str]) -> None:
    figures = explored_figures(prior(), prior(), answered(explored), SEED)
    assert figures is not None
    assert figures["champion"] == figures["challenger"]
    alone = explored_figures(prior(), prior(), answered([one for one in explored if one in UNSEEN]), SEED)
    assert figures == alone
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("identities", [[], IDENTITIES[:1]])
def test_without_two_travellers_there_are_no_figures(identities: list[str]) -> None:
    assert explored_figures(prior(), prior(), answered(identities, identities=identities), SEED) is None


def test_nobody_explored() -> None:
    assert explored_figures(prior(), prior(), answered([]), SEED) is None


def test_an_empty_list_counts_for_nothing() -> None:
    assert explored_figures(prior(), prior(), answered(UNSEEN, shown=0), SEED) is None


def test_of_a_single_place_the_estimate_is_what_was_chosen() -> None:
    figures = explored_figures(prior(), prior(), answered(UNSEEN, shown=1), SEED)
    assert figures is not None
    assert figures["champion"]["ips"]["value"] == 1.0


def test_places_with_the_same_utility_share_the_first_place() -> None:
    """A model to which all are alike shows each equally often: the first of five is chosen in all of these lists."""
    alike = Model("logit", np.zeros_like(prior().weights))
    figures = explored_figures(alike, alike, answered(UNSEEN), SEED)
    assert figures is not None
    assert figures["champion"]["ips"]["value"] == pytest.approx(1.0)
    assert figures["champion"]["ips"]["effective"] == pytest.approx(len(UNSEEN))
