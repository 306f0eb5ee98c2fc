"""Decides whether a canary, a version that serves a part of the travellers, gets more of them or is rolled back.

The canary is compared with the champion, which serves the others at the same time, so influences on both cancel out.
The shares of failures and of choices are compared by a one-sided test of two proportions. The distribution of the best
place's score is compared with the one expected when the version passed the gate, by the population stability index. No
I/O; the standard library only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import log, sqrt
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A canary is judged many times, so the threshold is high: chance exceeds it once in about a thousand judgements.
_Z: Final = 3.1
#: An index above 0.25 usually counts as a shift. A problem needs twice that, and more than twice the champion's index.
_SHIFTED: Final = 0.5
_BINS: Final = 10
_LEAST_FOR_SHIFT: Final = 100
_ROUNDING: Final = 1e-6
#: Scores and shares are at most 1; the bound refuses what is no number, and whole numbers that no float can hold.
_GREATEST: Final = 1e15


class Action(StrEnum):
    """What to do with the canary."""

    WAIT = "wait"
    STEP_UP = "step up"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Rules:
    """The steps: shares in per cent. Each step takes at least ``step_s`` seconds and ``least_answers`` answers."""

    shares: tuple[int, ...] = (5, 25, 50, 100)
    step_s: float = 600.0
    least_answers: int = 100

    def after(self, share: int) -> int:
        """The share of the next step."""
        return next((one for one in self.shares if one > share), 100)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The results of a version's starts: answers, failures, selections (-1 included), chosen places, best scores."""

    answers: int = 0
    failures: int = 0
    selections: int = 0
    choices: int = 0
    tops: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """Upper ends of bins of the best place's score, and the share of answers in each bin (one more than ends)."""

    ends: Sequence[float] = ()
    shares: Sequence[float] = ()

    @classmethod
    def of(cls, tops: Sequence[float]) -> Expected:
        """Ten bins with about the same number of ``tops`` in each."""
        if not tops:
            return cls()
        ordered = sorted(tops)
        ends = sorted({ordered[len(ordered) * one // _BINS] for one in range(1, _BINS)})
        return cls(tuple(ends), tuple(_shares(ends, tops)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"ends": list(self.ends), "shares": list(self.shares)}

    @classmethod
    def from_dict(cls, body: object) -> Expected:
        """What ``as_dict`` wrote; nothing is expected without a body. Raises ValueError for anything else."""
        if body is None or body == {}:
            return cls()
        if not isinstance(body, Mapping):
            raise ValueError("expected scores are not a JSON object")  # noqa: TRY004 - odd data, not a wrong call
        ends, shares = _finite(body.get("ends")), _finite(body.get("shares"))
        if not ends and not shares:
            return cls()
        whole = min(shares) >= 0.0 and abs(sum(shares) - 1.0) < _ROUNDING if shares else False
        if ends != sorted(set(ends)) or len(shares) != len(ends) + 1 or not whole:
            raise ValueError("expected scores are not bins with their shares")
        return cls(tuple(ends), tuple(shares))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, why (a sentence), and the figures."""

    action: Action
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)


def judge(
    rules: Rules,
    seconds: float,
    canary: Traffic,
    champion: Traffic,
    expected: tuple[Expected, Expected] = (Expected(), Expected()),
) -> Verdict:
    """Judge a canary after ``seconds`` at its share; ``expected`` has the canary's scores and the champion's."""
    shifts = stability_index(expected[0], canary.tops), stability_index(expected[1], champion.tops)
    figures = {"canary": _figures(canary, shifts[0]), "champion": _figures(champion, shifts[1]), "seconds": seconds}
    if problem := _problem(canary, champion, shifts):
        return Verdict(Action.ROLL_BACK, problem, figures)
    if seconds < rules.step_s or canary.answers < rules.least_answers:
        return Verdict(Action.WAIT, f"{canary.answers} answers in {seconds:.0f} s.", figures)
    return Verdict(Action.STEP_UP, "No problem was found.", figures)


def stability_index(expected: Expected, tops: Sequence[float]) -> float:
    """The population stability index of ``tops`` against what was expected; 0 for no shift, or for too few data."""
    if not expected.ends or len(tops) < _LEAST_FOR_SHIFT:
        return 0.0
    found = _shares(expected.ends, tops)
    # Half an answer more in each bin, so that an empty bin counts as rare, not as impossible (an infinite logarithm).
    little = 0.5 / len(tops)
    pairs = [(one + little, other + little) for one, other in zip(found, expected.shares, strict=True)]
    return sum((one - other) * log(one / other) for one, other in pairs)


def _problem(canary: Traffic, champion: Traffic, shifts: tuple[float, float]) -> str:
    starts, others = canary.answers + canary.failures, champion.answers + champion.failures
    if _greater(canary.failures, starts, champion.failures, others):
        return f"It fails more: {canary.failures} of {starts}, the champion {champion.failures} of {others}."
    refused, refused_before = canary.selections - canary.choices, champion.selections - champion.choices
    if _greater(refused, canary.selections, refused_before, champion.selections):
        return (
            f"Fewer take a place: {canary.choices} of {canary.selections}, "
            f"with the champion {champion.choices} of {champion.selections}."
        )
    if _greater(starts - canary.choices, starts, others - champion.choices, others):
        return f"Fewer choose: {canary.choices} of {starts} starts, with the champion {champion.choices} of {others}."
    if shifts[0] > _SHIFTED and shifts[0] > 2 * shifts[1]:
        return (
            f"Its scores differ from those expected: stability index {shifts[0]:.2f}, the champion's {shifts[1]:.2f}."
        )
    return ""


def _greater(hits: int, of: int, other_hits: int, of_others: int) -> bool:
    """Whether the first share is significantly greater than the second (pooled two-proportion z-test)."""
    if not of or not of_others or hits * of_others <= other_hits * of:
        return False
    pooled = (hits + other_hits) / (of + of_others)
    error = sqrt(pooled * (1 - pooled) * (1 / of + 1 / of_others))
    return hits / of - other_hits / of_others > _Z * error and hits >= 5


def _shares(ends: Sequence[float], tops: Sequence[float]) -> list[float]:
    counts = [0] * (len(ends) + 1)
    for top in tops:
        counts[bisect_right(ends, top)] += 1
    return [count / len(tops) for count in counts]


def _finite(values: object) -> list[float]:
    if not isinstance(values, list) or not all(type(one) in (int, float) and abs(one) < _GREATEST for one in values):
        raise ValueError("expected scores hold something else than lists of numbers")
    return values


def _figures(traffic: Traffic, shift: float) -> dict[str, Any]:
    counted = asdict(traffic)
    counted.pop("tops")
    return {**counted, "stability_index": shift}
