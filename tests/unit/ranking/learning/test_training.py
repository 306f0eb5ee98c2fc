from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ranking.helpers import random_model, synthetic_lists, table

from placerank.demo import synthetic
from placerank.domain import PLACE_FIELDS
from placerank.ranking.errors import NotEnoughData
from placerank.ranking.judging.metrics import evaluate
from placerank.ranking.learning.minimise import minimise
from placerank.ranking.learning.objective import CANDIDATES, Candidate, Objective
from placerank.ranking.learning.training import fit, split, train
from placerank.ranking.model import Model
from placerank.ranking.prior import prior
from placerank.ranking.scoring.scorer import Scorer

LISTS = synthetic_lists(600, seed=11)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2).filter(lambda ids: len(set(ids)) > 1), st.integers(0, 99))
def test_no_traveller_is_both_learned_from_and_judged_by(identities: list[str], seed: int) -> None:
    seen, unseen = split(identities, seed)
    assert sorted([*seen, *unseen]) == list(range(len(identities)))
    assert len(seen)
    assert len(unseen)
    assert not {identities[one] for one in seen} & {identities[one] for one in unseen}


@given(st.lists(st.text(min_size=1, max_size=3), min_size=4, max_size=40, unique=True), st.integers(0, 9))
def test_who_is_kept_back_once_is_kept_back_always(identities: list[str], seed: int) -> None:
    # If chance puts all travellers on one side, ``split`` moves one of them. That one may come back later.
    _, before = split(identities[: len(identities) // 2], seed)
    _, after = split(identities, seed)
    if len(before) > 1:
        assert set(before) <= set(after)


def test_training_finds_a_preference_that_the_prior_does_not_know() -> None:
    trained = train(LISTS, seed=1)
    assert trained.metrics["auc_within_lists"] > trained.baseline_metrics["auc_within_lists"]
    assert trained.metrics["log_loss"] < trained.baseline_metrics["log_loss"]
    others = synthetic_lists(400, seed=12)
    assert evaluate(trained.model, others)["log_loss"] < evaluate(prior(), others)["log_loss"]


def test_a_trained_model_ranks_what_is_truly_best_near_the_top() -> None:
    model = train(LISTS, seed=1).model
    places, travellers = synthetic.places(200, seed=13), synthetic.travellers(40, seed=13)
    answers = Scorer(model, table(places)).rank(travellers, 10)
    found = [
        places.index(synthetic.best(traveller, places)) in answer.rows
        for traveller, answer in zip(travellers, answers, strict=True)
    ]
    assert np.mean(found) > 0.6


def test_the_same_lists_and_seed_give_the_same_bytes() -> None:
    assert train(LISTS, seed=3).model.to_artifact() == train(LISTS, seed=3).model.to_artifact()


def test_the_champion_is_judged_on_the_same_lists() -> None:
    champion = random_model(5)
    trained = train(LISTS, seed=2, start=champion)
    _, unseen = split(LISTS.identities, 2)
    assert trained.baseline_metrics == evaluate(champion, LISTS.subset(unseen))
    assert trained.metrics["lists"] == len(unseen)


def test_a_trained_model_carries_its_metrics() -> None:
    trained = train(LISTS, seed=2)
    assert dict(Model.from_artifact(trained.model.to_artifact()).metrics) == trained.metrics


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.kind)
def test_the_gradient_is_that_of_the_loss(candidate: Candidate) -> None:
    objective = Objective(LISTS.subset(np.arange(60)), candidate)
    rng = np.random.default_rng(1)
    point = objective.start + 0.3 * rng.normal(size=len(objective.start))
    _, slope = objective(point)
    for one in np.flatnonzero(slope):
        step = np.zeros(len(point))
        step[one] = 1e-5
        assert (objective(point + step)[0] - objective(point - step)[0]) / 2e-5 == pytest.approx(
            slope[one], rel=1e-3, abs=1e-3
        )


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.kind)
def test_no_step_near_the_weights_found_lowers_the_loss(candidate: Candidate) -> None:
    objective = Objective(LISTS, candidate)
    point = minimise(objective, objective.start, max_steps=1000)
    least, slope = objective(point)
    rng = np.random.default_rng(1)
    for _ in range(5):
        away = rng.normal(0.0, 0.1, len(point)) * (slope != 0)
        assert objective(point + away)[0] > least


def test_more_data_turns_the_choice_from_few_weights_to_many() -> None:
    few, many = fit(synthetic_lists(60, seed=14), seed=1), fit(synthetic_lists(3000, seed=14), seed=1)
    assert few.model.kind != "rich"
    assert many.model.kind == "rich"
    assert many.losses["rich"] < many.losses["logit"]


def test_choices_made_at_random_are_told_from_the_preference() -> None:
    """Two in five travellers choose any place that they can pay for; the others follow their preference."""
    rng = np.random.default_rng(3)
    chosen = LISTS.chosen.copy()
    prices = LISTS.places[:, PLACE_FIELDS.index("price")].reshape(-1, 10)
    for one in np.flatnonzero(rng.random(len(LISTS)) < 0.4).tolist():
        can_pay = np.flatnonzero(prices[one] <= LISTS.travellers[one].budget)
        chosen[one] = rng.choice(can_pay) if len(can_pay) else -1
    fitted = fit(replace(LISTS, chosen=chosen), seed=1)
    assert fitted.losses["lapse"] < fitted.losses["logit"]
    assert 0.2 < fitted.model.mixture.lapse < 0.6


def test_progress_goes_from_0_to_1_and_can_stop_it() -> None:
    seen: list[float] = []
    train(LISTS, seed=1, progress=seen.append)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)

    def stop(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(LISTS, seed=1, progress=stop)


def test_too_few_lists_are_not_learned_from() -> None:
    with pytest.raises(NotEnoughData, match="30 answered lists"):
        train(LISTS.subset(np.arange(29)), seed=1)
    assert train(LISTS.subset(np.arange(29)), seed=1, min_lists=20).metrics["lists"]


def test_one_traveller_is_not_learned_from() -> None:
    with pytest.raises(NotEnoughData, match="two travellers"):
        train(replace(LISTS, identities=["id:a"] * len(LISTS)), seed=1)


@pytest.mark.parametrize("chosen", [-1, 0])
def test_lists_that_all_end_alike_are_survived(chosen: int) -> None:
    alike = replace(LISTS, chosen=np.full(len(LISTS), chosen, dtype=np.int64))
    trained = train(alike, seed=1)
    assert all(np.isfinite(value) for value in trained.metrics.values())
