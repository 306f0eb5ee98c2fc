"""Request bodies: every wrong value is refused with the name of its field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from placerank.api.requests import bodies
from placerank.errors import BodyTooLarge, MalformedBody
from placerank.schema.traveller import EXAMPLE

if TYPE_CHECKING:
    from placerank.schema.traveller import TravellerBody

TRIP: dict[str, Any] = EXAMPLE | {"name": "Ann", "people_num": 2, "people_age": [41, 7], "budget": 349.99}


def parsed(**changes: Any) -> TravellerBody:
    return bodies.parse(bodies.traveller, json.dumps(TRIP | changes).encode())


def wrong_fields(raw: bytes) -> set[str]:
    with pytest.raises(RequestValidationError) as raised:
        bodies.parse(bodies.traveller, raw)
    return {str(error["loc"][0]) for error in raised.value.errors()}


def test_a_traveller_is_taken_as_given() -> None:
    assert json.loads(parsed().canonical()) == TRIP


def test_a_budget_is_never_rounded() -> None:
    for budget in (0.1 + 0.2, 1e-300, 123456789.123456789, 1e308, 0):
        assert parsed(budget=budget).budget == budget
        assert json.loads(parsed(budget=budget).canonical())["budget"] == budget


def test_true_and_false_are_numbers_of_children() -> None:
    assert (parsed(children_num=True).children_num, parsed(children_num=False).children_num) == (1, 0)


def test_unknown_keys_are_ignored() -> None:
    assert parsed(favourite_colour="green") == parsed()


def test_equal_travellers_have_equal_bytes_and_the_id_is_no_part_of_them() -> None:
    shuffled = json.dumps(dict(reversed(TRIP.items())), indent=3).encode()
    assert bodies.parse(bodies.traveller, shuffled).canonical() == parsed(user_id="ann").canonical()
    assert parsed(budget=350).canonical() == parsed(budget=350.0).canonical()
    assert parsed(children_num=True).canonical() == parsed().canonical()


@pytest.mark.parametrize("field", list(TRIP))
def test_every_field_is_needed(field: str) -> None:
    assert wrong_fields(json.dumps({key: value for key, value in TRIP.items() if key != field}).encode()) == {field}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "A\x00nn"),
        ("name", 7),
        ("name", None),
        ("people_num", 0),
        ("people_num", -1),
        ("people_num", 3),
        ("people_num", 2.5),
        ("people_age", []),
        ("people_age", [41]),
        ("people_age", [41, -1]),
        ("people_age", [41, 121]),
        ("people_age", [41, 7.5]),
        ("people_age", "41,7"),
        ("children_num", -1),
        ("children_num", 2**31),
        ("budget", -0.01),
        ("budget", "much"),
        ("budget", None),
        ("nights", 0),
        ("nights", 2**31),
        ("nights", 10**30),
        ("time_arrival", "2027-02-30"),
        ("time_arrival", "2027-7-3"),
        ("time_arrival", "2027-07-03T10:00:00"),
        ("time_arrival", "0000-01-01"),
        ("time_arrival", 20270703),
        ("pool", "perhaps"),
        ("sport", None),
        ("user_id", "x" * 129),
        ("user_id", "a\x00b"),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: Any) -> None:
    named = wrong_fields(json.dumps(TRIP | {field: value}).encode())
    assert named <= {field, "people_age"}
    assert named


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
@pytest.mark.parametrize("field", ["budget", "nights", "people_num", "children_num"])
def test_what_is_no_finite_number_is_refused(field: str, number: str) -> None:
    raw = json.dumps(TRIP | {field: "HERE"}).replace('"HERE"', number).encode()
    with pytest.raises((RequestValidationError, MalformedBody)):
        bodies.parse(bodies.traveller, raw)


def test_every_wrong_field_is_named_at_once() -> None:
    raw = json.dumps(TRIP | {"nights": 0, "budget": -1, "pool": "perhaps"}).encode()
    assert wrong_fields(raw) == {"nights", "budget", "pool"}


@pytest.mark.parametrize("raw", [b"", b"{", b"nights=1", b'{"name": "\xff"}', b'{"name": "\\ud800"}'])
def test_what_is_no_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBody):
        bodies.parse(bodies.traveller, raw)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"7"])
def test_json_of_another_kind_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestValidationError):
        bodies.parse(bodies.traveller, raw)


@pytest.mark.parametrize("location_id", [-2, 2**31, 1.5, "x", None])
def test_a_choice_is_a_place_or_none(location_id: Any) -> None:
    raw = json.dumps({"task_id": "01890a5d-ac96-774b-bcce-b302099a8057", "location_id": location_id}).encode()
    with pytest.raises(RequestValidationError):
        bodies.parse(bodies.selection, raw)


def request(chunks: list[bytes], headers: dict[str, str]) -> tuple[Request, list[bytes]]:
    unread = list(chunks)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": unread.pop(0), "more_body": bool(unread)}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive), unread


async def test_a_body_in_pieces_is_read_whole() -> None:
    read, _ = request([b"{}", b" ", b""], {})
    assert await bodies.read_body(read, 3) == b"{} "


async def test_a_body_that_says_it_is_too_large_is_refused() -> None:
    read, _ = request([b"x"], {"content-length": "2000"})
    with pytest.raises(BodyTooLarge):
        await bodies.read_body(read, 1000)


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    read, unread = request([b"x" * 2**20] * 100, {"transfer-encoding": "chunked"})
    with pytest.raises(BodyTooLarge):
        await bodies.read_body(read, 1000)
    assert len(unread) > 50
