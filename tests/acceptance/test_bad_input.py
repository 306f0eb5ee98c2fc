"""Bad input gets a problem reply with the right 4xx, stores nothing and does not affect other requests."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from tests.acceptance.harness import JSON_HEADERS, PROBLEM, Api, Cluster, fields, place, problem, traveller, within

if TYPE_CHECKING:
    from collections.abc import Iterator

START, SELECT, BULK = "/inference/start", "/inference/select/", "/content/locations"
LARGE = 10 * 2**20


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Api]:
    """The API. After the test nothing was stored, the same process still serves, and it logged no traceback."""
    api, process = cluster.api, cluster.processes["api"]
    before, pid, output = api.info(), process.pid, process.output
    yield api
    assert api.info() == before
    assert process.pid == pid
    assert "Traceback" not in process.output[len(output) :]
    assert len(api.answer()["results"]) == 10


def with_value(field: str, text: str) -> bytes:
    """A traveller with this text as the value of a field; no JSON library would write it."""
    body = json.dumps(traveller() | {field: "@here"})
    return body.replace('"@here"', text).encode()


WRONG: list[tuple[str, Any]] = [
    ("name", None),
    ("name", 7),
    ("name", "N\0ul"),
    ("people_num", 0),
    ("people_num", -1),
    ("people_num", 1.5),
    ("people_num", "three"),
    ("people_num", None),
    ("people_num", 2**31),
    ("people_num", 2**63),
    ("people_num", 10**400),
    ("people_age", []),
    ("people_age", None),
    ("people_age", 41),
    ("people_age", {"0": 41}),
    ("people_age", [41, 38]),
    ("people_age", [41, 38, 7, 7]),
    ("people_age", [41, 38, [7]]),
    ("people_age.2", [41, 38, -1]),
    ("people_age.2", [41, 38, 121]),
    ("people_age.2", [41, 38, 7.5]),
    ("people_age.2", [41, 38, None]),
    ("people_age.2", [41, 38, 10**30]),
    ("children_num", -1),
    ("children_num", 2**31),
    ("children_num", None),
    ("children_num", 0.5),
    ("budget", -0.01),
    ("budget", None),
    ("budget", "a lot"),
    ("budget", [350]),
    ("nights", 0),
    ("nights", -5),
    ("nights", 2**31),
    ("nights", 2.5),
    ("time_arrival", "2027-02-29"),
    ("time_arrival", "2027-13-01"),
    ("time_arrival", "2027-04-31"),
    ("time_arrival", "2027-00-10"),
    ("time_arrival", "0000-01-01"),
    ("time_arrival", "2027-7-3"),
    ("time_arrival", "20270703"),
    ("time_arrival", "03.07.2027"),
    ("time_arrival", "2027/07/03"),
    ("time_arrival", "2027-07-03T00:00:00"),
    ("time_arrival", "2027-07-03 "),
    ("time_arrival", "2027-W27-6"),
    ("time_arrival", "12027-07-03"),
    ("time_arrival", "\u0662\u0660\u0662\u0667-\u0660\u0667-\u0660\u0663"),
    ("time_arrival", 1814572800),
    ("time_arrival", ""),
    ("time_arrival", None),
    ("pool", None),
    ("pool", "maybe"),
    ("spa", 2),
    ("lake", []),
    ("user_id", "x" * 129),
    ("user_id", "n\0ul"),
    ("user_id", 7),
]


@pytest.mark.parametrize(("where", "value"), WRONG)
def test_a_wrong_value_is_named(api: Api, where: str, value: Any) -> None:
    reply = api.http.post(START, json=traveller(**{where.split(".")[0]: value}))
    found = fields(problem(reply, 422, "invalid_request"))
    assert {field.split(".")[0] for field in found} == {where.split(".")[0]}
    if "." in where:
        assert where in found


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, '"NaN"', '"1e400"']
)
@pytest.mark.parametrize("field", ["budget", "people_num", "nights", "children_num"])
def test_numbers_that_are_none(api: Api, field: str, text: str) -> None:
    reply = api.http.post(START, content=with_value(field, text), headers=JSON_HEADERS)
    assert reply.status_code in {400, 422}
    problem(reply, reply.status_code, "malformed_json" if reply.status_code == 400 else "invalid_request")


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\udfff tail"', r'"\ud83d\ud83d"', r'"a\u0000b"'])
@pytest.mark.parametrize("field", ["name", "user_id"])
def test_text_that_cannot_be_stored(api: Api, field: str, text: str) -> None:
    reply = api.http.post(START, content=with_value(field, text), headers=JSON_HEADERS)
    assert reply.status_code in {400, 422}
    problem(reply, reply.status_code, "malformed_json" if reply.status_code == 400 else "invalid_request")


def test_every_missing_field_is_listed(api: Api) -> None:
    reply = api.http.post(START, json={})
    assert fields(problem(reply, 422, "invalid_request")) == set(traveller())


def test_every_wrong_field_is_listed(api: Api) -> None:
    reply = api.http.post(START, json=traveller(name=None, budget=-1, nights=0, pool="perhaps", time_arrival="soon"))
    assert fields(problem(reply, 422, "invalid_request")) == {"name", "budget", "nights", "pool", "time_arrival"}


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"name=Ada",
    b"{'name': 'Ada'}",
    b'{"name": "Ada",}',
    b'{"name": "Ada"} {"name": "Bob"}',
    b"\xff\xfe{\x00}\x00",
    b'{"name": "\xff\xfe"}',
    b'{"name": "\xed\xa0\x80"}',
    b'{"name": "a\nb"}',
    b"\x00",
    gzip.compress(b"{}"),
    b"[" * 60_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", START), ("PUT", SELECT), ("PUT", BULK), ("PUT", "/models/1/share")]
)
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_bodies_that_are_not_json(api: Api, method: str, path: str, body: bytes) -> None:
    problem(api.http.request(method, path, content=body, headers=JSON_HEADERS), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"name"', b"true", b"[" * 100 + b"]" * 100])
@pytest.mark.parametrize(("method", "path"), [("POST", START), ("PUT", SELECT), ("POST", "/train/start")])
def test_json_that_is_no_object(api: Api, method: str, path: str, body: bytes) -> None:
    problem(api.http.request(method, path, content=body, headers=JSON_HEADERS), 422, "invalid_request")


@pytest.mark.parametrize("body", [b"{}", b"null", b"7", b'["place"]', b"[null]", b"[[]]"])
def test_json_that_is_no_list_of_places(api: Api, body: bytes) -> None:
    problem(api.http.put(BULK, content=body, headers=JSON_HEADERS), 422, "invalid_request")


WRONG_PLACES: list[tuple[str, str]] = [
    ("location_id", "-1"),
    ("location_id", str(2**31)),
    ("location_id", "1.5"),
    ("location_id", "null"),
    ("price", "-1"),
    ("price", "NaN"),
    ("price", "1e400"),
    ("price", '"cheap"'),
    ("user_score", "-Infinity"),
    ("food_rating", "null"),
    ("has_pool", '"perhaps"'),
    ("children", "3"),
]


@pytest.mark.parametrize(("field", "text"), WRONG_PLACES)
def test_places_with_a_wrong_value(api: Api, field: str, text: str) -> None:
    body = json.dumps([place(1) | {field: "@here"}]).replace('"@here"', text)
    reply = api.http.put(BULK, content=body, headers=JSON_HEADERS)
    assert reply.status_code in {400, 422}
    found = problem(reply, reply.status_code, "malformed_json" if reply.status_code == 400 else "invalid_request")
    assert reply.status_code == 400 or fields(found) == {f"0.{field}"}


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
def test_json_is_read_whatever_the_content_type_says(cluster: Cluster, headers: dict[str, str]) -> None:
    reply = cluster.api.http.post(START, content=json.dumps(traveller()), headers=headers)
    assert reply.status_code == 200
    problem(cluster.api.http.post(START, content=b"{", headers=headers), 400, "malformed_json")


@pytest.mark.parametrize(("method", "path"), [("POST", START), ("PUT", SELECT), ("POST", "/train/start")])
@pytest.mark.parametrize("way", ["length", "chunked"])
def test_ten_megabytes(api: Api, method: str, path: str, way: str) -> None:
    """The client sends its whole body before it reads, as most clients do, and then receives the reply."""
    body = json.dumps(traveller(padding="x" * LARGE)).encode()
    parts = urlsplit(api.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        with within(10):
            if way == "length":
                connection.request(method, path, body, JSON_HEADERS)
            else:
                pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
                connection.request(method, path, pieces, JSON_HEADERS, encode_chunked=True)
            reply = connection.getresponse()
            text = json.loads(reply.read())
        assert reply.status == 413
        assert reply.getheader("content-type") == PROBLEM
        assert text["code"] == "body_too_large"
    finally:
        connection.close()


def test_a_body_that_is_only_announced(api: Api) -> None:
    parts = urlsplit(api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        head = f"POST {START} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        connection.shutdown(socket.SHUT_WR)
        # No reply is expected to half a request. The fixture checks that the process still serves.
        while connection.recv(65_536):
            pass


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", START),
        ("PUT", START),
        ("POST", SELECT),
        ("GET", SELECT),
        ("POST", f"/inference/status/{uuid4()}"),
        ("DELETE", f"/inference/results/{uuid4()}"),
        ("GET", "/train/start"),
        ("POST", "/content/info"),
        ("DELETE", "/content/locations"),
        ("POST", "/models"),
        ("GET", "/models/1/share"),
        ("POST", "/healthz/ready"),
        ("PATCH", "/inference/start"),
    ],
)
def test_wrong_methods(api: Api, method: str, path: str) -> None:
    reply = api.http.request(method, path)
    problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/inference", "/inference/", "/content/", "/content/nothing/1", "/%00", "/..//"]
)
def test_routes_that_are_none(api: Api, path: str) -> None:
    problem(api.http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "task_id",
    [
        "x",
        "7",
        "%00",
        "null",
        "0" * 31,
        "g" * 32,
        "0190e6f0-0000-7000-8000-00000000000",
        "%F0%9F%8F%94",
        "x" * 5000,
        "' OR 1=1",
    ],
)
def test_malformed_ids(api: Api, task_id: str) -> None:
    for method, path in (
        ("GET", "/inference/status/"),
        ("GET", "/inference/results/"),
        ("DELETE", "/inference/"),
        ("GET", "/train/status/"),
        ("DELETE", "/train/"),
        ("GET", "/content/results/"),
    ):
        reply = api.http.request(method, path + task_id)
        assert fields(problem(reply, 422, "invalid_request")) == {"task_id"}
    problem(api.http.put(SELECT, json={"task_id": task_id, "location_id": 1}), 422, "invalid_request")


def test_unknown_ids(api: Api) -> None:
    task_id = uuid4()
    for method, path in (
        ("GET", f"/inference/status/{task_id}"),
        ("GET", f"/inference/results/{task_id}"),
        ("DELETE", f"/inference/{task_id}"),
        ("GET", f"/train/status/{task_id}"),
        ("DELETE", f"/train/{task_id}"),
        ("GET", f"/content/results/{task_id}"),
        ("GET", "/content/location/2147483647"),
        ("DELETE", "/content/location/2147483647"),
        ("DELETE", "/content/user/9223372036854775807"),
        ("GET", "/content/result/9223372036854775807"),
    ):
        problem(api.http.request(method, path), 404, "not_found")
    problem(api.http.put(SELECT, json={"task_id": str(task_id), "location_id": -1}), 404, "not_found")


@pytest.mark.parametrize("wait", ["NaN", "Infinity", "-1", "1e400", "x", ""])
def test_waits_that_are_none(api: Api, wait: str) -> None:
    with within(5):
        reply = api.http.get(f"/inference/status/{uuid4()}", params={"wait": wait})
    assert reply.status_code in {404, 422}
    problem(reply, reply.status_code, "not_found" if reply.status_code == 404 else "invalid_request")


@pytest.mark.parametrize("header", ["Idempotency-Key", "Authorization", "traceparent", "Prefer"])
def test_headers_with_bytes_that_are_no_text(cluster: Cluster, header: str) -> None:
    reply = cluster.api.http.post(START, json=traveller(), headers={header.encode(): b"\xff\xfe \xc3"})
    assert reply.status_code in {200, 422}
    assert cluster.api.answer()


def test_nonsense_instead_of_http(api: Api) -> None:
    parts = urlsplit(api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400")


def test_a_bulk_of_nothing_but_wrong_places_costs_little(api: Api) -> None:
    reply = api.http.put(BULK, content=b"[" + b",".join([b"{}"] * 40_000) + b"]", headers=JSON_HEADERS)
    problem(reply, 422, "invalid_request")
    assert len(reply.content) < 20_000
    reply = api.http.post(START, json=traveller(people_num=15_000, people_age=[121] * 15_000))
    problem(reply, 422, "invalid_request")
    assert len(reply.content) < 50_000


@pytest.mark.parametrize("sent", ["0" * 140_000, "not a trace", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"])
def test_what_is_no_trace_context_goes_no_further(cluster: Cluster, sent: str) -> None:
    headers = {"traceparent": sent, "Prefer": "wait=20"}
    answered = [cluster.api.http.post(START, json=traveller(), headers=headers).json() for _ in range(2)]
    assert [one["status"] for one in answered] == ["SUCCESS", "SUCCESS"]
    assert cluster.api.http.get("/healthz/ready").json()["broker"] == "ok"
