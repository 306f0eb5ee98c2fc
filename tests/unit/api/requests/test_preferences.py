"""The Prefer header in all forms that RFC 7240 allows."""

from __future__ import annotations

import pytest

from placerank.api.requests.preferences import LONGEST_WAIT_S, Preferences, preferences


@pytest.mark.parametrize(
    ("header", "respond_async", "wait_s"),
    [
        ([], False, None),
        ("", False, None),
        ("respond-async", True, None),
        ("wait=10", False, 10),
        ("wait=0", False, 0),
        ("respond-async, wait=10", True, 10),
        ("wait=10,respond-async", True, 10),
        ("Wait=10, RESPOND-ASYNC", True, 10),
        ('wait="10"', False, 10),
        ("wait = 10", False, 10),
        ("wait=10; strict", False, 10),
        ("respond-async; a=b; c, wait=10;d=e", True, 10),
        ("return=minimal, wait=5, handling=lenient", False, 5),
        (" , ,wait=5,, respond-async", True, 5),
        ("wait=60", False, 60),
        ("wait=61", False, LONGEST_WAIT_S),
        ("wait=999999999", False, LONGEST_WAIT_S),
        ("wait=99999999999999999999999", False, LONGEST_WAIT_S),
        (["respond-async", "wait=10"], True, 10),
        # Only the first of several values counts.
        ("wait=5, wait=20", False, 5),
        # Malformed and unknown preferences are ignored.
        ("wait", False, None),
        ("wait=", False, None),
        ('wait=""', False, None),
        ("wait=soon", False, None),
        ("wait=-1", False, None),
        ("wait=1.5", False, None),
        ("wait=٣", False, None),
        ("await=10", False, None),
        ("wait-for=10, respond-asynchronously", False, None),
        ("wait!=10", False, None),
        ('foo="wait=10, respond-async"', False, None),
        ('foo="say \\"hi\\", wait=10", respond-async', True, None),
        ('foo="bar, wait=3, baz"', False, None),
        ("wait=soon, respond-async", True, None),
    ],
)
def test_a_header_is_read_as_the_rfc_says(header: str | list[str], respond_async: bool, wait_s: int | None) -> None:
    headers = [header] if isinstance(header, str) else header
    assert preferences(headers) == Preferences(respond_async, wait_s)


def test_a_long_wrong_header_is_read_at_once() -> None:
    assert preferences(["a" * 50_000 + "=" + '"' * 50_000]) == Preferences()
    assert preferences([";" * 50_000, "\\" * 50_000, 'x="' + "\\" * 50_000]) == Preferences()


def test_what_was_applied_is_said() -> None:
    both = Preferences(respond_async=True, wait_s=10)
    assert both.applied(waited=True) == {"Preference-Applied": "wait=10"}
    assert both.applied(waited=False) == {"Preference-Applied": "respond-async"}
    assert Preferences(wait_s=10).applied(waited=False) == {}
    assert Preferences().applied(waited=True) == {}
