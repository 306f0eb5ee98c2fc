"""Whether a version that serves a part of the travellers may serve more, or none. No I/O; the standard library only.

It is compared with the version that serves the others at the same time, so that whatever both meet counts for neither:
shares of failures and of choices by a one-sided test of two proportions, the distribution of the best place's score by
the population stability index against what was expected when the gate let it through.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import log, sqrt
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: It is looked at again and again, so a difference must be far out of the ordinary: once in about a thousand looks.
_Z: Final = 3.1
#: Above 0.25 a distribution is commonly said to have shifted; twice that, and twice the champion's, is no chance.
_SHIFTED: Final = 0.5
_BINS: Final = 10
_LEAST_FOR_SHIFT: Final = 100


class Action(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    STEP_UP = "step up"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Rules:
    """Shares in per cent, from the first on, each for ``step_s`` seconds and ``least_answers`` answers at least."""

    shares: tuple[int, ...] = (5, 25, 50, 100)
    step_s: float = 600.0
    least_answers: int = 100

    def after(self, share: int) -> int:
        """The share that follows."""
        return next((one for one in self.shares if one > share), 100)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What became of a version's starts: answers, failures, selections (-1 included), places chosen, best scores."""

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
        """Ten bins that hold about as many of ``tops`` each."""
        if not tops:
            return cls()
        ordered = sorted(tops)
        ends = sorted({ordered[len(ordered) * one // _BINS] for one in range(1, _BINS)})
        return cls(tuple(ends), tuple(_shares(ends, tops)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"ends": list(self.ends), "shares": list(self.shares)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any] | None) -> Expected:
        """What ``as_dict`` wrote."""
        return cls(tuple(body["ends"]), tuple(body["shares"])) if body else cls()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done, why (a sentence), and the figures."""

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
    """Judge a canary after ``seconds`` at its share; ``expected`` is of the canary and of the champion."""
    shifts = stability_index(expected[0], canary.tops), stability_index(expected[1], champion.tops)
    figures = {"canary": _figures(canary, shifts[0]), "champion": _figures(champion, shifts[1]), "seconds": seconds}
    if problem := _problem(canary, champion, shifts):
        return Verdict(Action.ROLL_BACK, problem, figures)
    if seconds < rules.step_s or canary.answers < rules.least_answers:
        return Verdict(Action.WAIT, f"{canary.answers} answers in {seconds:.0f} s.", figures)
    return Verdict(Action.STEP_UP, "Nothing speaks against it.", figures)


def stability_index(expected: Expected, tops: Sequence[float]) -> float:
    """How far a distribution has moved from what was expected: 0 for not at all; 0 too where too little is known."""
    if not expected.ends or len(tops) < _LEAST_FOR_SHIFT:
        return 0.0
    found = _shares(expected.ends, tops)
    # Half an answer in each bin, so that an empty one is rare and not impossible.
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
            f"Its scores are not those expected: a stability index of {shifts[0]:.2f}, the champion's {shifts[1]:.2f}."
        )
    return ""


def _greater(hits: int, of: int, other_hits: int, of_others: int) -> bool:
    """Whether the first share is greater than the second, far beyond chance (pooled two-proportion z-test)."""
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


def _figures(traffic: Traffic, shift: float) -> dict[str, Any]:
    counted = asdict(traffic)
    counted.pop("tops")
    return {**counted, "stability_index": shift}
