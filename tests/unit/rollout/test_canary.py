from __future__ import annotations

import random
from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placerank.rollout.canary import Action, Expected, Rules, Traffic, judge, stability_index

RULES = Rules(shares=(5, 25, 50, 100), step_s=60, least_answers=100)
CHAMPION = Traffic(answers=4000, failures=4, selections=3000, choices=2600)
GOOD = Traffic(answers=400, failures=0, selections=300, choices=262)


def keyed(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(st.sampled_from(["ends", "shares", "more"]), values)


def tops(mean: float, count: int = 500, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, 0.1) for _ in range(count)]


def test_time_and_answers_enough_step_it_up() -> None:
    assert judge(RULES, 61, GOOD, CHAMPION).action is Action.STEP_UP
    assert [RULES.after(share) for share in (5, 25, 50)] == [25, 50, 100]


def test_before_its_time_and_with_few_answers_it_waits() -> None:
    assert judge(RULES, 59, GOOD, CHAMPION).action is Action.WAIT
    assert judge(RULES, 1e6, replace(GOOD, answers=99), CHAMPION).action is Action.WAIT
    assert judge(RULES, 61, Traffic(), CHAMPION).action is Action.WAIT


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (replace(GOOD, failures=20), "It fails more"),
        (replace(GOOD, choices=200), "Fewer take a place"),
        (replace(GOOD, selections=150, choices=140), "Fewer choose"),
    ],
)
def test_what_goes_wrong_takes_it_back_before_its_time(bad: Traffic, reason: str) -> None:
    verdict = judge(RULES, 1, bad, CHAMPION)
    assert verdict.action is Action.ROLL_BACK
    assert verdict.reason.startswith(reason)
    assert verdict.figures["canary"]["failures"] == bad.failures


def test_what_goes_wrong_for_both_is_not_its_fault() -> None:
    assert judge(RULES, 61, replace(GOOD, failures=40), replace(CHAMPION, failures=400)).action is Action.STEP_UP
    assert judge(RULES, 61, replace(GOOD, choices=150), replace(CHAMPION, choices=1500)).action is Action.STEP_UP


def test_scores_that_are_not_as_expected_take_it_back() -> None:
    expected = Expected.of(tops(0.5)), Expected.of(tops(0.4))
    as_expected = replace(GOOD, tops=tops(0.5, seed=2)), replace(CHAMPION, tops=tops(0.4, seed=3))
    assert judge(RULES, 61, *as_expected, expected).action is Action.STEP_UP
    shifted = replace(GOOD, tops=tops(0.8, seed=2)), as_expected[1]
    verdict = judge(RULES, 61, *shifted, expected)
    assert verdict.action is Action.ROLL_BACK
    assert "stability index" in verdict.reason


def test_other_travellers_shift_the_scores_of_both() -> None:
    expected = Expected.of(tops(0.5)), Expected.of(tops(0.4))
    shifted = replace(GOOD, tops=tops(0.8, seed=2)), replace(CHAMPION, tops=tops(0.7, seed=3))
    assert judge(RULES, 61, *shifted, expected).action is Action.STEP_UP


def test_an_index_of_few_answers_or_of_equal_scores_says_nothing() -> None:
    assert stability_index(Expected.of(tops(0.5)), tops(0.9, count=50)) == 0
    assert stability_index(Expected(), tops(0.9)) == 0
    equal = Expected.of([0.3] * 400)
    assert stability_index(equal, [0.3] * 400) == pytest.approx(0, abs=0.01)
    assert stability_index(Expected.of([]), tops(0.9)) == 0


def test_expectations_are_kept_as_json() -> None:
    expected = Expected.of(tops(0.5))
    assert Expected.from_dict(expected.as_dict()) == expected
    assert Expected.from_dict(None) == Expected()
    assert Expected.from_dict(Expected().as_dict()) == Expected()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda o: st.lists(o) | keyed(o)))
def test_what_is_odd_is_refused_or_can_be_compared(body: object) -> None:
    try:
        expected = Expected.from_dict(body)
    except ValueError:
        return
    assert isfinite(stability_index(expected, tops(0.5)))


def test_the_same_version_is_hardly_ever_taken_back() -> None:
    """Two equal versions, judged after every hundred answers: chance rolls back about one in fifty."""
    rng = random.Random(5)
    taken_back = 0
    for _ in range(200):
        canary = champion = Traffic()
        for _ in range(20):
            canary, champion = more(canary, 25, rng), more(champion, 75, rng)
            if judge(RULES, 1, canary, champion).action is Action.ROLL_BACK:
                taken_back += 1
                break
    assert taken_back <= 8


def more(traffic: Traffic, count: int, rng: random.Random) -> Traffic:
    answered = [rng.random() for _ in range(count)]
    return Traffic(
        answers=traffic.answers + count,
        selections=traffic.selections + sum(one < 0.8 for one in answered),
        choices=traffic.choices + sum(one < 0.6 for one in answered),
    )
