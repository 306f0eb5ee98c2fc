"""Encoded answers: decoding gives what was encoded, and the bytes sent to clients are JSON."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placerank.cache import answers
from placerank.cache.answers import Answer
from placerank.domain import PLACE_FIELDS, PLACE_FLAGS, Problem, Status

TASK = str(UUID(int=7))
finite = st.floats(allow_nan=False, allow_infinity=False)


def values(price: float = 120.5, rating: float = 4.25) -> list[float | bool]:
    return [True if name in PLACE_FLAGS else price if name == "price" else rating for name in PLACE_FIELDS]


def places(count: int) -> bytes:
    return answers.render_places((1.0 / (n + 1), answers.render_place(n + 1, values())) for n in range(count))


def test_a_place_has_the_fields_of_the_contract_in_their_order() -> None:
    (place,) = json.loads(places(1))
    assert list(place) == ["score", "location_id", *PLACE_FIELDS]
    assert all(place[name] is True for name in PLACE_FLAGS)
    assert place["price"] == 120.5


@given(score=finite, price=finite, rating=finite)
def test_floats_come_back_as_they_were(score: float, price: float, rating: float) -> None:
    (place,) = json.loads(answers.render_places([(score, answers.render_place(3, values(price, rating)))]))
    assert (place["score"], place["price"], place["user_score"]) == (score, price, rating)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError):
        answers.render_place(1, values(price=wrong))


@pytest.mark.parametrize("held", [0, 1, 2, 10, 100])
def test_every_limit_cuts_the_list(held: int) -> None:
    answer = answers.succeeded(TASK, "v1", places(held))
    whole = json.loads(answer.places_json)
    for limit in range(1, 101):
        assert json.loads(answer.first(limit)) == whole[:limit]


@pytest.mark.parametrize(
    "answer",
    [
        answers.succeeded(TASK, "v12", places(10)),
        answers.succeeded(TASK, "v1", places(0)),
        answers.ended(TASK, Status.FAILURE, Problem("deadline_exceeded", 'Too late,\n"really".')),
        answers.ended(TASK, Status.REVOKED, None),
    ],
)
def test_a_record_comes_back_from_the_cache_as_it_went_in(answer: Answer) -> None:
    assert Answer.decode(answer.encode()) == answer


def test_the_status_reply_of_an_answer_names_task_type_and_version() -> None:
    body = json.loads(answers.succeeded(TASK, "v12", places(1)).status_json)
    assert body == {"task_id": TASK, "status": "SUCCESS", "type": "inference", "model_version": "v12"}


def test_the_status_reply_of_a_failure_says_why() -> None:
    failed = answers.ended(TASK, Status.FAILURE, Problem("no_places", "None left."))
    body = json.loads(failed.status_json)
    assert body["status"] == "FAILURE"
    assert body["error"] == {"code": "no_places", "detail": "None left."}
    assert failed.problem_code == "no_places"
    assert answers.ended(TASK, Status.REVOKED, None).problem_code == "revoked"


RECORD = answers.succeeded(TASK, "v12", places(3)).encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_value_error(record: bytes) -> None:
    with pytest.raises(ValueError):
        Answer.decode(record)


@given(st.integers(0, len(RECORD) - 1))
def test_a_record_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        Answer.decode(RECORD[:length])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"SUCCESS\n", b"DONE\n"),
        (b"SUCCESS\n", b"PENDING\n"),
        (b"SUCCESS\n", b"FAILURE\n"),
        (b"v12\n", b"v1\r12\n"),
        (b"v12\n", "v1é\n".encode()),
        (b"v12\n", b"v1\xff\n"),
        (b'{"task_id"', b'["task_id"'),
        (b'[{"score":', b'{"score":'),
    ],
)
def test_a_record_of_another_form_is_refused(old: bytes, new: bytes) -> None:
    assert old in RECORD
    with pytest.raises(ValueError):
        Answer.decode(RECORD.replace(old, new, 1))


def test_an_answer_belongs_to_one_task() -> None:
    answer = Answer.decode(RECORD)
    assert answer.belongs_to(UUID(int=7))
    assert not answer.belongs_to(UUID(int=8))
