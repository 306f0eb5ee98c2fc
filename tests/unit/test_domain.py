"""Task ids and identities of travellers."""

from __future__ import annotations

import time

from placerank.domain import Status, identity_of, new_task_id


def test_task_ids_are_of_version_7_unique_and_carry_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_task_id() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert all(before <= one.int >> 80 <= after for one in made)


def test_ids_made_later_sort_later() -> None:
    first = new_task_id()
    made_at = first.int >> 80
    while time.time_ns() // 1_000_000 <= made_at:
        pass
    second = new_task_id()
    assert first < second
    assert str(first) < str(second)
    assert first.bytes < second.bytes


def test_a_traveller_is_who_they_say_they_are() -> None:
    assert identity_of("ann", b"{1}") == identity_of("ann", b"{2}")
    assert identity_of("ann", b"{}") != identity_of("bob", b"{}")


def test_without_an_id_the_values_say_who_it_is() -> None:
    assert identity_of(None, b"{1}") == identity_of("", b"{1}") != identity_of(None, b"{2}")


def test_nobody_becomes_somebody_else_by_naming_a_digest() -> None:
    digest = identity_of(None, b"{1}")
    assert identity_of(digest, b"{2}") != digest
    assert identity_of(digest.removeprefix("digest:"), b"{2}") != digest


def test_three_ends_and_two_ways_there() -> None:
    assert {status for status in Status if status.finished} == {Status.SUCCESS, Status.FAILURE, Status.REVOKED}
