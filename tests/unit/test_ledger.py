"""The ledger of what clients were told finds every kind of violation, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.ledger import Ledger
from tests.verdict import Kind, Rules, Stored, Verdict, verify

TASK, OTHER = str(UUID(int=1)), str(UUID(int=2))
PLACES = ((7, 0.5), (3, 0.25), (9, 0.125))
STARTED = ("started", None)
DONE = Stored(
    status="SUCCESS",
    ended=True,
    attempts=0,
    model_version="v1",
    choice=None,
    places=PLACES,
    whole=True,
    events=(STARTED,),
)


def accepted() -> Ledger:
    """A client's start was accepted, and nothing else has happened."""
    ledger = Ledger()
    ledger.accept("ann", TASK)
    ledger.status("ann", TASK, "PENDING")
    return ledger


def chosen(*places: int) -> Stored:
    """An answer whose event log has these selections."""
    return replace(DONE, choice=places[-1], events=(STARTED, *(("selected", place) for place in places)))


def verdict(
    ledger: Ledger, row: Stored | None = DONE, rules: Rules | None = None, *, finishes: dict[str, int] | None = None
) -> Verdict:
    return verify(ledger.told, {} if row is None else {TASK: row}, rules or Rules(), finishes)


def kinds(found: Verdict) -> set[Kind]:
    assert all(TASK in str(violation) for violation in found.violations)
    return {violation.kind for violation in found.violations}


def whole_loop() -> Ledger:
    ledger = accepted()
    ledger.status("ann", TASK, "SUCCESS", "v1")
    ledger.result("ann", TASK, PLACES, "v1")
    ledger.result("bob", TASK, PLACES[:2], whole=False)
    for place in (7, 7, 3):
        ledger.selecting("ann", TASK, place)
        ledger.selected("ann", TASK, place)
    return ledger


def test_a_true_record_has_no_violation() -> None:
    found = verdict(whole_loop(), chosen(7, 3), Rules(places=3), finishes={TASK: 1}).demand_none()
    assert found.counts == {"accepted": 1, "finished": 1} | dict.fromkeys(map(str, Kind), 0)


@pytest.mark.parametrize(
    ("row", "lenient"),
    [
        (None, Rules(may_be_gone=True)),
        (replace(DONE, status="PENDING", ended=False), Rules(may_be_unfinished=True)),
        (replace(DONE, status="FAILURE"), Rules(may_fail=True)),
        (replace(DONE, status="REVOKED", events=(STARTED, ("cancelled", None))), Rules(may_fail=True)),
        (replace(DONE, events=()), None),
    ],
)
def test_what_was_accepted_and_is_lost(row: Stored | None, lenient: Rules | None) -> None:
    found = verdict(accepted(), row)
    assert kinds(found) == {Kind.LOST}
    assert found.counts["lost"] == 1
    if lenient:
        verdict(accepted(), row, lenient).demand_none()


def test_a_client_that_is_told_that_there_is_no_such_inference() -> None:
    ledger = accepted()
    ledger.refused("ann", "404 not_found", TASK)
    assert kinds(verdict(ledger)) == {Kind.LOST}


def test_a_result_that_nothing_stored() -> None:
    assert kinds(verdict(accepted(), finishes={OTHER: 1})) == {Kind.LOST}
    assert kinds(verdict(accepted(), finishes={})) == {Kind.LOST}


@pytest.mark.parametrize(
    "row",
    [
        replace(DONE, events=(STARTED, STARTED)),
        replace(DONE, events=(STARTED, ("cancelled", None))),
        replace(DONE, places=(*PLACES, PLACES[0])),
    ],
)
def test_what_was_applied_twice(row: Stored) -> None:
    assert kinds(verdict(accepted(), row)) == {Kind.TWICE}


def test_an_inference_that_was_finished_twice() -> None:
    assert kinds(verdict(accepted(), finishes={TASK: 2})) == {Kind.TWICE}


def test_a_cancel_and_a_selection_that_were_applied_twice() -> None:
    ledger = accepted()
    ledger.cancelling("ann", TASK)
    ledger.cancelled("ann", TASK, "REVOKED")
    cancelled = replace(DONE, status="REVOKED", events=(STARTED, ("cancelled", None)))
    verdict(ledger, cancelled).demand_none()
    assert kinds(verdict(ledger, replace(cancelled, events=(*cancelled.events, ("cancelled", None))))) == {Kind.TWICE}
    assert Kind.TWICE in kinds(verdict(whole_loop(), chosen(7, 7, 3)))


@pytest.mark.parametrize(
    ("first", "second"),
    [("SUCCESS", "PENDING"), ("STARTED", "PENDING"), ("SUCCESS", "STARTED"), ("FAILURE", "SUCCESS")],
)
def test_a_status_that_goes_back(first: str, second: str) -> None:
    ledger = accepted()
    ledger.status("ann", TASK, first)
    ledger.status("ann", TASK, second)
    assert Kind.WENT_BACK in kinds(verdict(ledger))


def test_a_result_that_is_not_finished_any_more() -> None:
    ledger = accepted()
    ledger.result("ann", TASK, PLACES)
    ledger.refused("ann", "409 not_finished", TASK, status="PENDING")
    assert kinds(verdict(ledger)) == {Kind.WENT_BACK}


def test_the_order_of_two_clients_is_not_known() -> None:
    ledger = accepted()
    ledger.status("ann", TASK, "SUCCESS")
    ledger.status("bob", TASK, "PENDING")
    verdict(ledger).demand_none()
    ledger.status("bob", TASK, "FAILURE")
    assert kinds(verdict(ledger)) == {Kind.WENT_BACK, Kind.STATUS}


def test_a_status_that_is_not_stored() -> None:
    ledger = accepted()
    ledger.status("ann", TASK, "FAILURE")
    assert kinds(verdict(ledger)) == {Kind.STATUS}
    assert kinds(verdict(ledger, replace(DONE, status="FAILURE", ended=False), Rules(may_be_unfinished=True))) == {
        Kind.STATUS
    }


def test_a_cancel_that_is_not_stored() -> None:
    ledger = accepted()
    ledger.cancelling("ann", TASK)
    ledger.cancelled("ann", TASK, "REVOKED")
    assert kinds(verdict(ledger)) == {Kind.STATUS}
    assert kinds(verdict(ledger, replace(DONE, status="REVOKED"))) == {Kind.STATUS}


def test_a_cancel_without_a_reply_may_be_stored_or_not() -> None:
    ledger = accepted()
    ledger.cancelling("ann", TASK)
    for row in (DONE, replace(DONE, status="REVOKED", events=(STARTED, ("cancelled", None)))):
        verdict(ledger, row).demand_none()


@pytest.mark.parametrize(
    ("second", "whole"),
    [(PLACES[:2], True), ((PLACES[1], PLACES[0]), False), (((7, 0.5), (3, 0.26)), False), ((*PLACES, (1, 0.1)), True)],
)
def test_results_that_differ_between_two_reads(second: tuple[tuple[int, float], ...], whole: bool) -> None:
    for first in ("ann", "bob"):
        ledger = accepted()
        ledger.result(first, TASK, PLACES)
        ledger.result("ann", TASK, second, whole=whole)
        assert kinds(verdict(ledger)) == {Kind.RESULT_CHANGED, Kind.RESULT}


@pytest.mark.parametrize(
    "row", [replace(DONE, whole=False), replace(DONE, places=()), replace(DONE, places=PLACES[:2])]
)
def test_a_result_that_is_not_stored_whole(row: Stored) -> None:
    assert kinds(verdict(accepted(), row, Rules(places=3))) == {Kind.RESULT}


def test_a_result_that_is_not_the_stored_one() -> None:
    ledger = accepted()
    ledger.result("ann", TASK, PLACES)
    assert kinds(verdict(ledger, replace(DONE, places=(*PLACES[:2], (9, 0.1))))) == {Kind.RESULT}


@pytest.mark.parametrize("log", [(7,), (3,), (3, 7), (7, 3, 9), (9, 3), (7, 3, 7, 3)])
def test_selections_that_are_not_the_stored_ones(log: tuple[int, ...]) -> None:
    assert kinds(verdict(whole_loop(), chosen(*log))) == {Kind.SELECTION}


def test_a_selection_that_is_logged_and_not_stored() -> None:
    assert kinds(verdict(whole_loop(), replace(chosen(7, 3), choice=7))) == {Kind.SELECTION}
    assert kinds(verdict(whole_loop(), replace(chosen(7, 3), choice=None))) == {Kind.SELECTION}


def test_a_selection_that_no_client_made() -> None:
    assert kinds(verdict(accepted(), chosen(7))) == {Kind.SELECTION}


def test_a_selection_without_a_reply_may_be_stored_or_not() -> None:
    ledger = whole_loop()
    ledger.selecting("ann", TASK, 9)
    for log in ((7, 3), (7, 3, 9), (7, 9, 3)):
        verdict(ledger, chosen(*log)).demand_none()
    assert kinds(verdict(ledger, replace(chosen(7, 3, 9), choice=3))) == {Kind.SELECTION}
    ledger.refused("ann", "409 not_finished", TASK, location_id=9)
    assert kinds(verdict(ledger, chosen(7, 3, 9))) == {Kind.SELECTION}


def test_the_last_selection_of_one_of_several_clients_is_stored() -> None:
    ledger = whole_loop()
    for place in (9, 7):
        ledger.selected("bob", TASK, place)
    for log in ((7, 3, 9, 7), (9, 7, 3), (7, 9, 7, 3), (7, 9, 3, 7)):
        verdict(ledger, chosen(*log)).demand_none()
    assert kinds(verdict(ledger, chosen(9, 7, 3, 9))) == {Kind.SELECTION}


def test_a_model_version_that_is_not_stored() -> None:
    assert kinds(verdict(whole_loop(), replace(chosen(7, 3), model_version="v2"))) == {Kind.VERSION}


def test_counts_are_of_inferences() -> None:
    ledger = accepted()
    ledger.accept("bob", OTHER)
    ledger.accept("bob", OTHER)
    unused = replace(DONE, attempts=2, events=(STARTED, ("result_unused", None), ("result_unused", None)))
    found = verify(ledger.told, {TASK: unused, OTHER: replace(DONE, status="PENDING", ended=False)}, Rules())
    assert (found.accepted, found.finished, found.unused, found.most_attempts) == (2, 1, 2, 2)
    assert found.counts["lost"] == 1
    with pytest.raises(AssertionError, match=f"1 violations.*\n.*{OTHER} was accepted and has not finished"):
        found.demand_none()


def reply(
    method: str, path: str, body: Any, status: int = 200, *, sent: Any = None, version: str = ""
) -> httpx.Response:
    request = httpx.Request(method, f"http://api{path}", json=sent)
    return httpx.Response(status, json=body, request=request, headers={"Model-Version": version} if version else {})


SHOWN = [{"location_id": place, "score": score, "price": 1.0} for place, score in PLACES]
SELECTION = {"task_id": TASK.upper(), "location_id": 7}


def hear(ledger: Ledger, *replies: httpx.Response) -> None:
    for one in replies:
        ledger.asking("ann", one.request)
        ledger.heard("ann", one)


def test_replies_are_recorded() -> None:
    ledger, pending, done = Ledger(), {"task_id": TASK, "status": "PENDING"}, {"task_id": TASK, "status": "SUCCESS"}
    hear(
        ledger,
        reply("POST", "/inference/start", pending, 202),
        reply("GET", f"/inference/status/{TASK}?wait=5", done | {"model_version": "v1"}),
        reply("GET", f"/inference/results/{TASK}", SHOWN, version="v1"),
        reply("GET", f"/inference/results/{TASK}?limit=1", SHOWN[:1]),
        reply("PUT", "/inference/select/", {"task_id": TASK, "location_id": 7}, sent=SELECTION),
        reply("DELETE", f"/inference/{TASK}", done),
        reply("GET", f"/train/status/{TASK}", pending),
        reply("GET", "/", {}),
    )
    expected = accepted()
    expected.status("ann", TASK, "SUCCESS", "v1")
    expected.result("ann", TASK, PLACES, "v1")
    expected.result("ann", TASK, PLACES[:1], whole=False)
    expected.selecting("ann", TASK, 7)
    expected.selected("ann", TASK, 7)
    expected.cancelling("ann", TASK)
    expected.cancelled("ann", TASK, "SUCCESS")
    assert ledger.told == expected.told
    assert ledger.accepted == [TASK]
    assert verdict(ledger, chosen(7)).demand_none().accepted == 1


def test_a_start_that_waits_records_its_result() -> None:
    ledger, body = Ledger(), {"task_id": TASK, "status": "SUCCESS", "model_version": "v2", "results": SHOWN}
    hear(ledger, reply("POST", "/inference/start", body))
    assert kinds(verdict(ledger)) == {Kind.VERSION}
    assert ledger.told[-1].places == PLACES


def test_refusals_are_recorded() -> None:
    ledger = accepted()
    hear(
        ledger,
        reply("POST", "/inference/start", {"code": "overloaded"}, 503),
        reply("GET", f"/inference/results/{TASK}", {"code": "not_finished"}, 409),
        reply("PUT", "/inference/select", {"code": "place_not_shown"}, 422, sent=SELECTION),
        reply("PUT", "/inference/select", [], 500, sent=SELECTION | {"location_id": 3}),
        reply("GET", "/content/info", {"code": "database_unavailable"}, 503),
    )
    assert [one.reason for one in ledger.refusals] == [
        "503 overloaded",
        "409 not_finished",
        "422 place_not_shown",
        "500 ",
    ]
    assert [one.status for one in ledger.refusals] == ["", "PENDING", "", ""]
    verdict(ledger, chosen(3)).demand_none()
    assert kinds(verdict(ledger, chosen(7))) == {Kind.SELECTION}


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"[]", b'"x"', b'{"task_id": 1}', b"\xff"])
def test_a_selection_that_is_none_is_passed_over(body: bytes) -> None:
    ledger, request = Ledger(), httpx.Request("PUT", "http://api/inference/select/", content=body)
    ledger.asking("ann", request)
    ledger.heard("ann", httpx.Response(400, text="no JSON", request=request))
    assert [one.task_id for one in ledger.told] == [""]


def test_after_an_erasure_rows_may_be_gone() -> None:
    ledger, erased = accepted(), {"erased": {"users": 1, "inferences": 1, "events": 1}}
    assert kinds(ledger.check(lambda _: [])) == {Kind.LOST}
    hear(ledger, reply("DELETE", "/content/user/1", erased))
    ledger.check(lambda _: []).demand_none()


def test_rows_come_as_text_in_queries_of_limited_size() -> None:
    ledger, asked = Ledger(), list[str]()
    for number in range(5_000):
        ledger.accept("ann", str(UUID(int=number)))

    def ask(query: str) -> list[list[str]]:
        asked.append(query)
        ids = query.partition("'{")[2].partition("}'")[0].split(",")
        lists = {"location_ids": [7], "scores": [0.5], "lengths": [1, 1], "events": [["started", None]]}
        row = {"status": "SUCCESS", "ended": True, "attempts": 1, "model_version": "v1", "choice": None} | lists
        return [[json.dumps({"id": task_id} | row)] for task_id in ids]

    found = ledger.check(ask, Rules(places=1)).demand_none()
    assert (found.accepted, found.finished, found.most_attempts, len(asked)) == (5_000, 5_000, 1, 3)


def test_the_wait_ends_when_nothing_is_unfinished_or_the_time_is_over() -> None:
    ledger, counts = accepted(), iter(["1", "1", "0"])
    assert ledger.wait_until_finished(lambda _: [[next(counts)]], 60, every_s=0)
    assert not ledger.wait_until_finished(lambda _: [["1"]], 0, every_s=0)


def test_ledgers_are_joined() -> None:
    first, second = accepted(), Ledger()
    second.accept("bob", OTHER)
    second.failed("bob", "ReadTimeout")
    first.include(second)
    assert first.accepted == [TASK, OTHER]
    assert first.failures == ["bob: ReadTimeout"]
