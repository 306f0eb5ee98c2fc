"""Pauses grow up to a bound, and too many failures within the time end it."""

from __future__ import annotations

from placerank.supervision.intensity import Intensity, Restarts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_fifth_failure_within_a_minute_is_the_last() -> None:
    clock = Clock()
    restarts = Restarts(Intensity(), clock)
    pauses = []
    for _ in range(5):
        pauses.append(restarts.next_pause_s())
        clock.now += 14.9
    assert pauses == [0.1, 0.5, 1.0, 2.0, None]


def test_failures_that_are_further_apart_go_on_for_ever() -> None:
    clock = Clock()
    restarts = Restarts(Intensity(), clock)
    for _ in range(200):
        assert restarts.next_pause_s() is not None
        clock.now += 15.1


def test_old_failures_are_forgotten_and_the_pause_is_short_again() -> None:
    clock = Clock()
    restarts = Restarts(Intensity(restarts=2, within_s=10, pauses_s=(0.0, 3.0)), clock)
    assert [restarts.next_pause_s(), restarts.next_pause_s()] == [0.0, 3.0]
    clock.now = 10.1
    assert restarts.next_pause_s() == 0.0


def test_the_last_pause_is_used_for_all_further_restarts() -> None:
    restarts = Restarts(Intensity(restarts=5, within_s=60, pauses_s=(1.0, 2.0)), Clock())
    assert [restarts.next_pause_s() for _ in range(6)] == [1.0, 2.0, 2.0, 2.0, 2.0, None]
