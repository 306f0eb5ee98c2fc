"""Counterfactual estimates from logged decisions, checked on a simulation with known true values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.unit.ranking.helpers import random_model

from placerank.demo import synthetic
from placerank.ranking.catalogue import place_values
from placerank.ranking.judging.counterfactual import (
    Estimate,
    Logged,
    doubly_robust,
    effective_size,
    first_places,
    ips,
    self_normalised,
)
from placerank.ranking.lists import ShownLists, choice_probabilities, list_utilities
from placerank.ranking.prior import prior

if TYPE_CHECKING:
    from placerank.ranking.model import Model

SIZE, LISTS = 5, 4000


def shown_at_random(seed: int) -> ShownLists:
    """Lists of five places in random order, with the choices of simulated travellers."""
    rng = np.random.default_rng(seed)
    catalogue = synthetic.places(200, seed)
    travellers = synthetic.travellers(LISTS, seed)
    shown = [[catalogue[one] for one in rng.choice(200, SIZE, replace=False)] for _ in travellers]
    return ShownLists(
        travellers,
        [traveller.name for traveller in travellers],
        place_values([place for places in shown for place in places]),
        np.arange(LISTS + 1) * SIZE,
        np.array([synthetic.choose(t, places, rng) for t, places in zip(travellers, shown, strict=True)]),
    )


RANDOM = shown_at_random(41)


def truth(model: Model) -> float:
    """How often the travellers of the simulation choose the place that the model ranks first."""
    best = list_utilities(model, RANDOM).reshape(-1, SIZE).argmax(axis=1)
    return float((RANDOM.chosen == best).mean())


def logged(model: Model) -> Logged:
    return first_places(model, RANDOM, np.full(LISTS, 1 / SIZE))


def expectations(model: Model) -> tuple[np.ndarray, np.ndarray]:
    chances = choice_probabilities(prior(), RANDOM)[0].reshape(-1, SIZE)
    best = list_utilities(model, RANDOM).reshape(-1, SIZE).argmax(axis=1)
    return chances[:, 0], chances[np.arange(LISTS), best]


def estimates(model: Model) -> list[Estimate]:
    return [
        ips(logged(model)),
        self_normalised(logged(model)),
        doubly_robust(logged(model), *expectations(model)),
    ]


@pytest.mark.parametrize("model", [prior(), random_model(1)], ids=["good", "arbitrary"])
def test_what_another_order_would_have_earned_is_found(model: Model) -> None:
    for estimate in estimates(model):
        assert estimate.conclusive
        assert estimate.low < truth(model) < estimate.high
        assert estimate.effective == pytest.approx(LISTS / SIZE, rel=0.1)


def test_a_good_order_is_told_from_an_arbitrary_one() -> None:
    for good, arbitrary in zip(estimates(prior()), estimates(random_model(1)), strict=True):
        assert good.low > arbitrary.high


def test_the_doubly_robust_estimate_varies_least() -> None:
    plain, _, robust = estimates(prior())
    assert robust.high - robust.low < plain.high - plain.low


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Many small logs of two decisions with known rewards: about 95 % of the intervals contain the true value."""
    rng = np.random.default_rng(2)
    propensity, worth = np.array([0.8, 0.2]), np.array([0.3, 0.6])
    held = {"ips": 0, "self": 0}
    for _ in range(300):
        shown = (rng.random(800) < propensity[1]).astype(int)
        log = Logged(propensity[shown], np.array([0.1, 0.9])[shown], (rng.random(800) < worth[shown]).astype(float))
        value = 0.1 * worth[0] + 0.9 * worth[1]
        for name, estimate in (("ips", ips(log)), ("self", self_normalised(log))):
            held[name] += estimate.low < value < estimate.high
    assert all(0.9 < count / 300 < 0.99 for count in held.values())


def test_nothing_is_concluded_from_a_few_heavy_units() -> None:
    rng = np.random.default_rng(3)
    propensities = np.where(np.arange(1000) < 10, 0.001, 1.0)
    log = Logged(propensities, np.full(1000, 0.5), (rng.random(1000) < 0.5).astype(float))
    assert effective_size(log.weights) < 50
    assert not self_normalised(log).conclusive
    assert not ips(log).conclusive


def test_an_order_that_was_never_shown_is_not_judged() -> None:
    log = Logged(np.ones(100), np.zeros(100), np.ones(100))
    assert not self_normalised(log).conclusive
    assert not ips(log).conclusive


def test_what_had_no_chance_cannot_have_been_shown() -> None:
    with pytest.raises(ValueError, match="propensity"):
        Logged(np.zeros(2), np.ones(2), np.ones(2))


def repeated(log: Logged, times: int) -> Logged:
    """Every decision several times, each time of the same traveller."""
    names = [str(one) for one in range(len(log.rewards))]
    propensities, target, rewards = (np.repeat(each, times) for each in (log.propensities, log.target, log.rewards))
    return Logged(propensities, target, rewards, np.repeat(names, times).tolist())


def each_estimate(log: Logged) -> list[Estimate]:
    expected = np.full(len(log.rewards), 0.4)
    return [ips(log), self_normalised(log), doubly_robust(log, expected, expected)]


def test_decisions_that_a_traveller_repeats_make_no_estimate_surer() -> None:
    rng = np.random.default_rng(5)
    log = Logged(np.full(300, 0.25), (rng.random(300) < 0.4).astype(float), (rng.random(300) < 0.5).astype(float))
    for once, often in zip(each_estimate(log), each_estimate(repeated(log, 7)), strict=True):
        assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
        assert often.travellers == pytest.approx(once.travellers)


def test_intervals_hold_the_truth_where_travellers_differ() -> None:
    """Travellers with tastes of their own and 20 decisions each: independent draws would give too short intervals."""
    rng = np.random.default_rng(6)
    held = np.zeros(3)
    for _ in range(200):
        tastes = np.repeat(rng.beta(0.5, 0.5, 60), 20)
        log = Logged(
            np.full(1200, 0.5),
            (rng.random(1200) < 0.5).astype(float),
            (rng.random(1200) < tastes).astype(float),
            np.repeat(np.arange(60), 20).astype(str).tolist(),
        )
        held += [one.low < 0.5 < one.high for one in each_estimate(log)]
    assert (held / 200 > 0.9).all()


def test_one_traveller_says_nothing_about_others() -> None:
    log = Logged(np.full(400, 0.5), np.ones(400), np.ones(400) * 0.5, ["one"] * 400)
    for estimate in each_estimate(log):
        assert estimate.low <= 0.0
        assert estimate.high >= 1.0
        assert not estimate.conclusive


def test_lists_bring_their_travellers() -> None:
    assert logged(prior()).identities == RANDOM.identities
    assert len(set(RANDOM.identities)) < LISTS


def test_there_is_a_traveller_for_each_decision() -> None:
    with pytest.raises(ValueError, match="Each decision"):
        Logged(np.ones(2), np.ones(2), np.ones(2), ["one"])
