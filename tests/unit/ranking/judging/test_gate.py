from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.unit.ranking.helpers import random_model, synthetic_lists

from placerank.ranking.judging.gate import Decision, decide
from placerank.ranking.learning.training import fit
from placerank.ranking.model import Model
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from placerank.ranking.lists import ShownLists

LISTS, WINDOW = synthetic_lists(2500, seed=31), synthetic_lists(800, seed=32)


def with_shuffled_choices(lists: ShownLists) -> ShownLists:
    return replace(lists, chosen=np.random.default_rng(1).permutation(lists.chosen))


@cache
def learned(*, shuffled: bool = False) -> Model:
    return fit(with_shuffled_choices(LISTS) if shuffled else LISTS, seed=1).model


def test_a_better_model_passes() -> None:
    decision = decide(prior(), learned(), WINDOW, seed=1)
    assert decision.passed
    assert decision.reasons == ()
    assert 0 < decision.interval[0] < decision.gain < decision.interval[1]
    assert decision.challenger.log_loss < decision.champion.log_loss


def test_a_model_of_shuffled_choices_is_refused_and_told_why() -> None:
    for champion in (prior(), learned()):
        decision = decide(champion, learned(shuffled=True), WINDOW, seed=1)
        assert not decision.passed
        assert "not better" in decision.reasons[0]
        assert decision.gain < 0


def test_where_all_choices_are_shuffled_nothing_passes() -> None:
    """A model that fits noise has a smaller loss than the prior here, although it has learned nothing."""
    noise = with_shuffled_choices(WINDOW)
    decision = decide(prior(), learned(shuffled=True), noise, seed=1)
    assert decision.gain > 0
    assert "not better than chance" in " ".join(decision.reasons)


def test_a_worse_order_is_refused_whatever_the_loss() -> None:
    wordy = Model("logit", learned().weights * 6)
    vague = Model("logit", learned().weights * 0.3 + random_model(3).weights * 0.05)
    assert "order is worse" in refused(decide(wordy, vague, WINDOW, seed=1))


def test_the_two_are_not_compared_the_wrong_way_round() -> None:
    there, back = decide(prior(), learned(), WINDOW, seed=1), decide(learned(), prior(), WINDOW, seed=1)
    assert there.gain == -back.gain
    assert (there.champion, there.challenger) == (back.challenger, back.champion)
    assert not back.passed


def test_a_model_is_not_better_than_itself() -> None:
    assert not decide(learned(), learned(), WINDOW, seed=1).passed


def refused(decision: Decision) -> str:
    assert not decision.passed
    return " ".join(decision.reasons)


def test_few_lists_do_not_prove_a_small_gain() -> None:
    slightly = Model("logit", prior().weights + 1e-3 * random_model(2).weights)
    assert "not better with 95 % confidence" in refused(decide(prior(), slightly, WINDOW.subset(np.arange(30)), seed=1))


def test_one_traveller_proves_nothing() -> None:
    alone = replace(WINDOW, identities=["one"] * len(WINDOW))
    assert decide(prior(), learned(), WINDOW, seed=1).passed
    assert "of one traveller" in refused(decide(prior(), learned(), alone, seed=1))


def test_a_gain_does_not_make_up_for_worse_calibration() -> None:
    """The overconfident model still has a lower loss than a model with zero weights."""
    vague = Model("logit", np.zeros_like(prior().weights))
    eager = Model("logit", learned().weights * 3)
    decision = decide(vague, eager, WINDOW, seed=1)
    assert decision.gain > 0
    assert "calibrated" in refused(decision)


def test_a_dear_model_is_refused() -> None:
    rich = random_model(1)
    assert rich.cost > prior().cost
    decision = decide(prior(), rich, WINDOW, seed=1)
    assert (decision.champion.cost, decision.challenger.cost) == (prior().cost, rich.cost)


def test_decisions_are_the_same_each_time() -> None:
    assert decide(prior(), learned(), WINDOW, seed=1) == decide(prior(), learned(), WINDOW, seed=1)


def test_the_interval_is_wider_when_lists_are_of_few_travellers() -> None:
    gathered = replace(WINDOW, identities=[f"id:{one % 5}" for one in range(len(WINDOW))])
    apart = replace(WINDOW, identities=[f"id:{one}" for one in range(len(WINDOW))])
    wide, narrow = (decide(prior(), learned(), lists, seed=1).interval for lists in (gathered, apart))
    assert narrow[1] - narrow[0] == pytest.approx(wide[1] - wide[0], rel=2.0)
    assert decide(prior(), learned(), gathered, seed=1).travellers == 5
