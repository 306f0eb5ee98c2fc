"""Every route keeps its documented behaviour."""

from __future__ import annotations

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np
import psutil
import pytest
from redis import Redis
from tests.acceptance.harness import (
    PLACE_FIELDS,
    SHOWN_FIELDS,
    START_S,
    Api,
    Cluster,
    eventually,
    fields,
    place,
    problem,
    traveller,
    within,
)

from placerank.demo import synthetic
from placerank.domain import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tools.services import Services

UNKNOWN = str(UUID(int=7))
DEMO_PLACES = 210


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return cluster.api


@contextmanager
def standing_still(cluster: Cluster) -> Iterator[None]:
    """Pauses the inference worker: inferences stay pending."""
    worker = psutil.Process(cluster.processes["inference"].pid)
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


def start(api: Api, prefer: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return api.http.post("/inference/start", json=body or traveller(), headers={"Prefer": prefer})


class TestStart:
    def test_a_start_is_answered_with_a_pending_task(self, api: Api) -> None:
        reply = api.http.post("/inference/start", json=traveller())
        assert reply.status_code == 200
        body = reply.json()
        assert UUID(body["task_id"])
        assert (body["status"], body["type"]) == ("PENDING", "inference")
        assert "preference-applied" not in reply.headers

    def test_unknown_keys_are_ignored_and_true_counts_as_one_child(self, api: Api) -> None:
        user_id = str(uuid4())
        api.answer(traveller(user_id=user_id, children_num=True, favourite_colour={"deep": ["blue"]}))
        assert api.user_of(user_id)["children_num"] == 1

    @pytest.mark.parametrize("budget", [0, 0.1 + 0.2, 123456789.123456789, 1e-300, 1e300])
    def test_a_budget_is_kept_as_given(self, api: Api, budget: float) -> None:
        user_id = str(uuid4())
        answered = api.answer(traveller(user_id=user_id, budget=budget))
        assert len(answered["results"]) == 10
        assert api.user_of(user_id)["budget"] == budget

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": ""},
            {"name": 'Zoë 🏔 "O\'Neil" \\ \u2028 %s :x'},
            {"people_num": 1, "people_age": [0], "children_num": 0},
            {"people_num": 200, "people_age": [120] * 200, "children_num": 2**31 - 1, "nights": 2**31 - 1},
            {"time_arrival": "0001-01-01"},
            {"time_arrival": "9999-12-31"},
            {"time_arrival": "2028-02-29"},
            {"user_id": "x" * 128},
            {"user_id": None},
        ],
    )
    def test_unusual_travellers_are_answered(self, api: Api, changes: dict[str, Any]) -> None:
        assert len(api.answer(traveller(**changes))["results"]) == 10

    def test_every_start_is_a_row_of_its_traveller(self, api: Api) -> None:
        user_id = str(uuid4())
        for name in ("first", "second"):
            api.answer(traveller(user_id=user_id, name=name))
        rows = api.http.get("/content/users", params={"user_id": user_id}).json()
        assert [row["name"] for row in rows] == ["first", "second"]


class TestPrefer:
    def test_wait_gives_the_results(self, api: Api) -> None:
        reply = start(api, "wait=20")
        assert reply.status_code == 200
        assert reply.headers["preference-applied"] == "wait=20"
        body = reply.json()
        assert body["status"] == "SUCCESS"
        assert len(body["results"]) == 10
        assert all(set(one) == SHOWN_FIELDS for one in body["results"])
        assert body["results"] == api.results(body["task_id"])
        assert body["model_version"] == api.status(body["task_id"])["model_version"]

    def test_waits_are_capped_at_a_minute(self, api: Api) -> None:
        assert start(api, "wait=100000").headers["preference-applied"] == "wait=60"

    def test_respond_async_says_where_to_ask(self, api: Api) -> None:
        reply = start(api, "respond-async")
        assert reply.status_code == 202
        assert reply.headers["preference-applied"] == "respond-async"
        body = reply.json()
        asked = api.http.get(reply.headers["location"])
        assert asked.status_code == 200
        assert asked.json()["task_id"] == body["task_id"]

    def test_both_give_the_results_if_they_come_in_time(self, api: Api) -> None:
        reply = start(api, "respond-async, wait=20")
        assert reply.status_code == 200
        assert len(reply.json()["results"]) == 10
        assert "wait=20" in reply.headers["preference-applied"]

    def test_unfinished_after_the_wait_is_as_without(self, cluster: Cluster) -> None:
        with standing_still(cluster):
            began = time.monotonic()
            alone = start(cluster.api, "wait=1")
            assert 0.9 < time.monotonic() - began < 2.5
            both = start(cluster.api, "wait=1, respond-async")
        assert alone.status_code == 200
        assert "preference-applied" not in alone.headers
        assert both.status_code == 202
        assert both.headers["location"].endswith(both.json()["task_id"])
        for reply in (alone, both):
            assert reply.json()["status"] == "PENDING"
            assert "results" not in reply.json()
            assert cluster.api.finished(reply.json()["task_id"])["status"] == "SUCCESS"

    @pytest.mark.parametrize("prefer", ["wait", "wait=soon", "wait=-1", "handling=lenient", ",;=,", "wait=1e3"])
    def test_what_is_not_understood_is_ignored(self, api: Api, prefer: str) -> None:
        reply = start(api, prefer)
        assert reply.status_code == 200
        assert "preference-applied" not in reply.headers

    def test_a_failure_is_waited_for_too(self, cluster: Cluster) -> None:
        with standing_still(cluster), ThreadPoolExecutor(1) as pool:
            reply = pool.submit(
                cluster.api.http.post,
                "/inference/start",
                params={"deadline": 0.05},
                json=traveller(),
                headers={"Prefer": "wait=20"},
            )
            eventually(lambda: cluster.rows("SELECT 1 FROM inferences WHERE deadline_at < now()"))
            psutil.Process(cluster.processes["inference"].pid).send_signal(signal.SIGCONT)
            ended = reply.result()
        assert ended.status_code == 200
        body = ended.json()
        assert (body["status"], body["error"]["code"]) == ("FAILURE", "deadline_exceeded")
        assert "results" not in body
        assert cluster.api.status(body["task_id"])["error"] == body["error"]
        refused = cluster.api.http.get(f"/inference/results/{body['task_id']}")
        problem(refused, 409, "deadline_exceeded")
        assert "retry-after" not in refused.headers
        assert cluster.api.select(body["task_id"], -1).status_code == 409


class TestStatus:
    def test_waiting_for_the_end(self, cluster: Cluster) -> None:
        api = cluster.api
        assert api.status(api.start(), wait=20)["status"] == "SUCCESS"
        with standing_still(cluster):
            task_id = api.start()
            began = time.monotonic()
            assert api.status(task_id, wait=1)["status"] == "PENDING"
            assert 0.9 < time.monotonic() - began < 2.5
        assert api.status(task_id, wait=20)["status"] == "SUCCESS"

    def test_a_finished_task_names_its_model(self, api: Api) -> None:
        status = api.status(api.answer()["task_id"])
        assert status["status"] == "SUCCESS"
        assert status["type"] == "inference"
        assert status["model_version"] in {one["version"] for one in api.http.get("/models").json()}

    def test_the_position_counts_who_is_ahead(self, cluster: Cluster) -> None:
        with standing_still(cluster):
            task_ids = [cluster.api.start() for _ in range(6)]
            positions = [cluster.api.status(task_id).get("position", 0) for task_id in task_ids]
        assert all(isinstance(position, int) and position >= 0 for position in positions)
        assert positions == sorted(positions)
        assert all(cluster.api.finished(task_id)["status"] == "SUCCESS" for task_id in task_ids)

    @pytest.mark.parametrize("kind", ["inference", "train"])
    def test_unknown_and_malformed_ids(self, api: Api, kind: str) -> None:
        problem(api.http.get(f"/{kind}/status/{UNKNOWN}"), 404, "not_found")
        problem(api.http.get(f"/{kind}/status/nonsense"), 422, "invalid_request")
        problem(api.http.get(f"/{kind}/status/{UNKNOWN}", params={"wait": "long"}), 422, "invalid_request")


class TestResults:
    def test_the_limit_cuts(self, api: Api) -> None:
        answered = api.answer()
        for limit in (1, 3, 10, 100):
            assert api.results(answered["task_id"], limit=limit) == answered["results"][:limit]

    @pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "1.5", "", "9" * 30])
    def test_limits_outside_are_refused(self, api: Api, limit: str) -> None:
        task_id = api.answer()["task_id"]
        found = problem(api.http.get(f"/inference/results/{task_id}", params={"limit": limit}), 422, "invalid_request")
        assert fields(found) == {"limit"}

    def test_the_header_names_the_model(self, api: Api) -> None:
        answered = api.answer()
        reply = api.http.get(f"/inference/results/{answered['task_id']}")
        assert reply.headers["model-version"] == answered["model_version"]

    def test_unknown_malformed_and_unfinished(self, cluster: Cluster) -> None:
        http = cluster.api.http
        problem(http.get(f"/inference/results/{UNKNOWN}"), 404, "not_found")
        problem(http.get("/inference/results/7"), 422, "invalid_request")
        with standing_still(cluster):
            task_id = cluster.api.start()
            reply = http.get(f"/inference/results/{task_id}")
            problem(reply, 409, "not_finished")
            assert int(reply.headers["retry-after"]) > 0
        cluster.api.finished(task_id)

    def test_an_answer_survives_the_loss_of_the_cache(self, cluster: Cluster) -> None:
        answered = cluster.api.answer()
        with Redis.from_url(cluster.cache_url) as redis:
            redis.flushdb()
        assert cluster.api.results(answered["task_id"]) == answered["results"]
        assert cluster.api.status(answered["task_id"])["model_version"] == answered["model_version"]


class TestSelect:
    @pytest.mark.parametrize("path", ["/inference/select/", "/inference/select"])
    def test_with_the_slash_and_without(self, api: Api, path: str) -> None:
        answered = api.answer()
        choice = {"task_id": answered["task_id"], "location_id": answered["results"][4]["location_id"]}
        reply = api.http.put(path, json=choice, follow_redirects=False)
        assert reply.status_code == 200
        assert {name: reply.json()[name] for name in choice} == choice

    def test_repeated_and_replaced_choices(self, cluster: Cluster) -> None:
        answered = cluster.api.answer()
        task_id = answered["task_id"]
        first, second = (answered["results"][at]["location_id"] for at in (0, 9))
        for choice in (first, first, second, second, -1, first):
            assert cluster.api.select(task_id, choice).status_code == 200
        events = cluster.rows("SELECT kind, location_id FROM events WHERE task_id = %s ORDER BY id", task_id)
        logged = [event["location_id"] for event in events if event["kind"] == "selected"]
        assert logged == [first, second, -1, first]
        chosen = [row for row in cluster.api.http.get(f"/content/results/{task_id}").json() if row["chosen"]]
        assert [row["location_id"] for row in chosen] == [first]

    def test_a_place_that_was_not_shown(self, cluster: Cluster) -> None:
        answered = cluster.api.answer()
        shown = {one["location_id"] for one in answered["results"]}
        hidden = next(one for one in range(1, DEMO_PLACES) if one not in shown)
        for location_id in (hidden, 2_000_000_000, 0):
            problem(cluster.api.select(answered["task_id"], location_id), 422, "place_not_shown")
        for nonsense in (-2, 2**31, 2**70, 1.5, "one", None):
            choice = {"task_id": answered["task_id"], "location_id": nonsense}
            problem(cluster.api.http.put("/inference/select/", json=choice), 422, "invalid_request")
        assert [event["kind"] for event in cluster.rows(_EVENTS, answered["task_id"])] == ["started"]

    def test_before_the_result_and_for_nobody(self, cluster: Cluster) -> None:
        problem(cluster.api.select(UNKNOWN, -1), 404, "not_found")
        problem(cluster.api.select("x", -1), 422, "invalid_request")
        with standing_still(cluster):
            task_id = cluster.api.start()
            problem(cluster.api.select(task_id, -1), 409, "not_finished")
        cluster.api.finished(task_id)
        assert [event["kind"] for event in cluster.rows(_EVENTS, task_id)] == ["started"]


_EVENTS = "SELECT kind FROM events WHERE task_id = %s ORDER BY id"


class TestCancel:
    def test_what_has_not_run_is_cancelled_for_good(self, cluster: Cluster) -> None:
        api = cluster.api
        with standing_still(cluster), ThreadPoolExecutor(1) as pool:
            task_id = api.start()
            waiting = pool.submit(api.status, task_id, wait=20)
            for _ in range(2):
                reply = api.http.delete(f"/inference/{task_id}")
                assert reply.status_code == 200
                assert reply.json()["status"] == "REVOKED"
            assert waiting.result()["status"] == "REVOKED"
            refused = api.http.get(f"/inference/results/{task_id}")
            problem(refused, 409, "cancelled")
            assert "retry-after" not in refused.headers
            assert api.select(task_id, -1).status_code == 409
        api.answer()
        assert api.status(task_id)["status"] == "REVOKED"
        assert cluster.rows("SELECT status FROM inferences WHERE id = %s", task_id) == [{"status": "REVOKED"}]

    def test_what_has_finished_stays(self, api: Api) -> None:
        answered = api.answer()
        reply = api.http.delete(f"/inference/{answered['task_id']}")
        assert reply.status_code == 200
        assert reply.json()["status"] == "SUCCESS"
        assert api.results(answered["task_id"]) == answered["results"]

    def test_unknown_and_malformed(self, api: Api) -> None:
        problem(api.http.delete(f"/inference/{UNKNOWN}"), 404, "not_found")
        problem(api.http.delete("/inference/x"), 422, "invalid_request")


class TestIdempotency:
    def test_the_same_key_and_body_are_the_same_task(self, api: Api) -> None:
        key, body = str(uuid4()), traveller()
        first = api.start(body, **{"Idempotency-Key": key})
        api.finished(first)
        again = api.http.post("/inference/start", json=body, headers={"Idempotency-Key": key}).json()
        assert (again["task_id"], again["status"]) == (first, "SUCCESS")
        waited = api.answer(body, **{"Idempotency-Key": key})
        assert waited["task_id"] == first
        assert len(waited["results"]) == 10

    def test_bodies_are_compared_after_parsing(self, api: Api) -> None:
        headers, body = {"Idempotency-Key": str(uuid4())}, traveller(budget=100, children_num=1)
        first = api.start(body, **headers)
        reversed_keys = dict(reversed(body.items()))
        for same in (reversed_keys, body | {"budget": 100.0}, body | {"children_num": True}, body | {"unknown": 1}):
            assert api.start(same, **headers) == first
        assert api.http.get("/content/info").json()["users"] > 0

    @pytest.mark.parametrize("change", [{"budget": 100.5}, {"pool": False}, {"name": "x"}, {"user_id": "somebody"}])
    def test_another_body_is_refused(self, api: Api, change: dict[str, Any]) -> None:
        headers, body = {"Idempotency-Key": str(uuid4())}, traveller()
        first = api.start(body, **headers)
        reply = api.http.post("/inference/start", json=body | change, headers=headers)
        problem(reply, 422, "idempotency_key_reused")
        assert api.start(body, **headers) == first

    def test_a_pending_task_keeps_its_status_and_can_be_waited_for(self, cluster: Cluster) -> None:
        headers, body = {"Idempotency-Key": str(uuid4())}, traveller()
        with standing_still(cluster):
            first = cluster.api.start(body, **headers)
            assert cluster.api.start(body, **headers) == first
        assert cluster.api.answer(body, **headers)["task_id"] == first

    @pytest.mark.parametrize("key", ["", "k" * 256])
    def test_keys_without_a_length_that_is_taken(self, api: Api, key: str) -> None:
        before = api.info()
        reply = api.http.post("/inference/start", json=traveller(), headers={"Idempotency-Key": key})
        assert fields(problem(reply, 422, "invalid_request")) == {"Idempotency-Key"}
        assert api.info() == before
        assert api.start(traveller(), **{"Idempotency-Key": uuid4().hex + "k" * (255 - 32)})

    def test_starts_at_the_same_time_are_one(self, cluster: Cluster) -> None:
        headers, body = {"Idempotency-Key": str(uuid4())}, traveller()

        def post(_: int) -> httpx.Response:
            return cluster.api.http.post("/inference/start", json=body, headers=headers)

        with ThreadPoolExecutor(24) as pool:
            replies = list(pool.map(post, range(48)))
        assert {reply.status_code for reply in replies} <= {200, 409}
        assert len({reply.json()["task_id"] for reply in replies if reply.status_code == 200}) == 1
        assert len(cluster.rows("SELECT 1 FROM users WHERE name = %s", body["name"])) == 1

    def test_callers_have_keys_of_their_own(self, api: Api) -> None:
        key, body = str(uuid4()), traveller()
        callers = [{"Authorization": f"Bearer {name}"} for name in ("one", "two")]
        first, second = (api.start(body, **{"Idempotency-Key": key, **caller}) for caller in callers)
        assert first != second

    def test_trainings_have_them_too(self, api: Api) -> None:
        headers = {"Idempotency-Key": str(uuid4())}
        first, again = (
            api.http.post("/train/start", json={"max_lists": 2}, headers=headers).json()["task_id"] for _ in range(2)
        )
        assert first == again
        problem(api.http.post("/train/start", json={"seed": 5}, headers=headers), 422, "idempotency_key_reused")
        problem(api.http.post("/inference/start", json=traveller(), headers=headers), 422, "idempotency_key_reused")
        api.finished(first, kind="train")


def pages(api: Api, path: str) -> list[list[dict[str, Any]]]:
    """All pages of a list, found through its ``next`` links."""
    found = []
    while path:
        reply = api.http.get(path)
        assert reply.status_code == 200, reply.text
        found.append(reply.json())
        link = re.fullmatch(r'<(.+)>; rel="?next"?', reply.headers.get("link", ""))
        path = link[1] if link else ""
    return found


class TestContent:
    def test_info_counts(self, api: Api) -> None:
        before = api.info()
        api.answer()
        after = api.info()
        assert before["locations"] == DEMO_PLACES
        assert after["users"] == before["users"] + 1

    def test_locations_in_pages(self, api: Api) -> None:
        found = pages(api, "/content/locations?limit=50")
        assert [len(page) for page in found[:4]] == [50, 50, 50, 50]
        rows = [row for page in found for row in page]
        ids = [row["location_id"] for row in rows]
        assert ids == sorted(set(ids))
        assert len(ids) == DEMO_PLACES
        assert all(set(PLACE_FIELDS) <= set(row) for row in rows)
        one = api.http.get(f"/content/location/{ids[17]}").json()
        assert {name: one[name] for name in PLACE_FIELDS} == {name: rows[17][name] for name in PLACE_FIELDS}

    @pytest.mark.parametrize("name", ["users", "events", "models", "datasets"])
    def test_other_lists_in_pages(self, api: Api, name: str) -> None:
        for _ in range(3):
            api.answer()
        whole = api.http.get(f"/content/{name}", params={"limit": 1000}).json()
        assert isinstance(whole, list)
        ids = [row["id"] for row in whole]
        assert ids == sorted(set(ids))
        first = api.http.get(f"/content/{name}", params={"limit": 2}).json()
        assert first == whole[:2]
        if len(whole) > 2:
            rest = api.http.get(f"/content/{name}", params={"limit": 2, "after": first[-1]["id"]}).json()
            assert rest == whole[2:4]

    def test_users_hold_what_was_given(self, api: Api) -> None:
        body = traveller(user_id=str(uuid4()))
        api.answer(body)
        row = api.user_of(body["user_id"])
        assert {name: row[name] for name in body} == body
        assert api.http.get(f"/content/user/{row['id']}").json() == row

    def test_rows_of_results_are_found_by_their_ids(self, api: Api) -> None:
        answered = api.answer()
        rows = api.http.get(f"/content/results/{answered['task_id']}").json()
        assert [row["location_id"] for row in rows] == [one["location_id"] for one in answered["results"]]
        assert [row["score"] for row in rows] == [one["score"] for one in answered["results"]]
        assert {row["model_version"] for row in rows} == {answered["model_version"]}
        assert [api.http.get(f"/content/result/{row['id']}").json() for row in rows] == rows
        found = pages(api, f"/content/results/{answered['task_id']}?limit=4")
        assert [row for page in found for row in page] == rows

    @pytest.mark.parametrize("path", ["location/1999999999", "user/999999999999", "result/999999999999", "nothing"])
    def test_what_is_not_there(self, api: Api, path: str) -> None:
        problem(api.http.get(f"/content/{path}"), 404, "not_found")

    def test_results_of_an_unknown_task(self, api: Api) -> None:
        problem(api.http.get(f"/content/results/{UNKNOWN}"), 404, "not_found")

    @pytest.mark.parametrize("path", ["location/x", "user/-1", "result/1.5", "user/99999999999999999999", "results/x"])
    def test_malformed_ids(self, api: Api, path: str) -> None:
        problem(api.http.get(f"/content/{path}"), 422, "invalid_request")

    @pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "after=x", "limit=99999999999999999999"])
    def test_malformed_pages(self, api: Api, query: str) -> None:
        problem(api.http.get(f"/content/locations?{query}"), 422, "invalid_request")


class TestCatalogue:
    def test_a_place_comes_changes_and_goes(self, api: Api) -> None:
        body, location_id = traveller(), 900_001
        before = api.info()["locations"]
        assert location_id not in shown(api, body)
        assert api.http.put("/content/locations", json=[place(location_id)]).status_code == 200
        try:
            assert api.info()["locations"] == before + 1
            eventually(lambda: location_id in shown(api, body))
            old = api.answer(body)
            assert api.select(old["task_id"], location_id).status_code == 200
            changed = place(location_id, price=199.75)
            assert api.http.put("/content/locations", json=[changed]).status_code == 200
            assert api.info()["locations"] == before + 1
            eventually(lambda: shown(api, body)[location_id]["price"] == 199.75)
        finally:
            assert api.http.delete(f"/content/location/{location_id}").status_code == 200
        eventually(lambda: location_id not in shown(api, body))
        assert api.info()["locations"] == before
        problem(api.http.delete(f"/content/location/{location_id}"), 404, "not_found")
        assert api.results(old["task_id"]) == old["results"]
        assert api.http.get(f"/content/location/{location_id}").json()["price"] == 199.75

    def test_old_answers_show_what_was_shown_also_without_the_cache(self, cluster: Cluster) -> None:
        api, body, location_id = cluster.api, traveller(), 900_002
        api.http.put("/content/locations", json=[place(location_id)])
        try:
            old = eventually(lambda: _answer_with(api, body, location_id))
            assert old is not None
        finally:
            api.http.delete(f"/content/location/{location_id}")
        with Redis.from_url(cluster.cache_url) as redis:
            redis.flushdb()
        assert api.results(old["task_id"]) == old["results"]

    def test_a_bulk_is_taken_whole_or_not_at_all(self, api: Api) -> None:
        before = api.info()
        twice = [place(900_010), place(900_011), place(900_010, price=1)]
        problem(api.http.put("/content/locations", json=twice), 422, "invalid_request")
        bad = [place(900_010), place(900_011, price=-1), place(-3), {"location_id": 900_012}]
        found = problem(api.http.put("/content/locations", json=bad), 422, "invalid_request")
        wrong = {field.split(".")[0] for field in fields(found)}
        assert wrong == {"1", "2", "3"}
        assert api.info() == before

    def test_an_empty_bulk_changes_nothing(self, api: Api) -> None:
        before = api.info()
        assert api.http.put("/content/locations", json=[]).status_code == 200
        assert api.info() == before


def shown(api: Api, body: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {one["location_id"]: one for one in api.answer(body)["results"]}


def _answer_with(api: Api, body: dict[str, Any], location_id: int) -> dict[str, Any] | None:
    answered = api.answer(body)
    return answered if location_id in {one["location_id"] for one in answered["results"]} else None


class TestErasure:
    def test_everything_of_a_traveller_goes_over_all_starts(self, cluster: Cluster) -> None:
        api, user_id, key = cluster.api, f"erased-{uuid4()}", str(uuid4())
        names = [f"{user_id}-{number}" for number in range(3)]
        task_ids = [api.answer(traveller(user_id=user_id, name=name))["task_id"] for name in names[:2]]
        keyed = traveller(user_id=user_id, name=names[2])
        task_ids.append(api.answer(keyed, **{"Idempotency-Key": key})["task_id"])
        api.select(task_ids[0], -1)
        other = api.answer(traveller(user_id=f"{uuid4()}"))
        rows = api.http.get("/content/users", params={"user_id": user_id}).json()
        assert len(rows) == 3
        assert all(_mentions(cluster, word) for word in (user_id, *task_ids))
        before = api.info()
        reply = api.http.delete(f"/content/user/{rows[1]['id']}")
        assert reply.status_code == 200
        assert api.info()["users"] == before["users"] - 3
        for task_id in task_ids:
            problem(api.http.get(f"/inference/status/{task_id}"), 404, "not_found")
            problem(api.http.get(f"/inference/results/{task_id}"), 404, "not_found")
            problem(api.http.get(f"/content/results/{task_id}"), 404, "not_found")
        assert not [word for word in (user_id, *names, *task_ids) if _mentions(cluster, word)]
        problem(api.http.delete(f"/content/user/{rows[0]['id']}"), 404, "not_found")
        assert api.results(other["task_id"]) == other["results"]
        assert api.start(keyed, **{"Idempotency-Key": key}) not in task_ids

    def test_without_a_user_id_equal_travellers_are_one(self, cluster: Cluster) -> None:
        body = traveller()
        for _ in range(2):
            cluster.api.answer(body)
        mine = cluster.rows("SELECT id FROM users WHERE name = %s", body["name"])
        assert len(mine) == 2
        cluster.api.http.delete(f"/content/user/{mine[0]['id']}")
        assert not _mentions(cluster, body["name"])

    def test_what_is_still_pending_does_not_come_back(self, cluster: Cluster) -> None:
        api, user_id = cluster.api, str(uuid4())
        with standing_still(cluster):
            task_id = api.start(traveller(user_id=user_id))
            assert api.http.delete(f"/content/user/{api.user_of(user_id)['id']}").status_code == 200
        api.answer()
        eventually(lambda: api.http.get(f"/inference/status/{task_id}").status_code == 404)
        assert not _mentions(cluster, task_id)


def _mentions(cluster: Cluster, word: str) -> list[str]:
    """The tables and Redis keys that contain a word."""
    tables = cluster.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    places = [
        table["tablename"]
        for table in tables
        if table["tablename"] not in {"models", "locations"}
        and cluster.rows(
            # The name of the table comes from the database itself, so it is safe in a query.
            f'SELECT 1 FROM "{table["tablename"]}" AS t WHERE position(%s IN t::text) > 0 LIMIT 1',
            word,
        )
    ]
    with Redis.from_url(cluster.cache_url) as redis:
        for key in redis.scan_iter():
            value = redis.get(key)
            if word.encode() in key or (isinstance(value, bytes) and word.encode() in value):
                places.append(key.decode())
    return places


class TestTraining:
    def test_too_little_to_learn_from(self, api: Api) -> None:
        reply = api.http.post("/train/start", json={"max_lists": 2})
        assert reply.status_code == 200
        started = reply.json()
        assert (started["status"], started["type"]) == ("PENDING", "training")
        status = api.finished(started["task_id"], kind="train")
        assert (status["status"], status["error"]["code"]) == ("FAILURE", "not_enough_data")

    def test_what_travellers_chose_makes_a_model(self, api: Api) -> None:
        _answered_lists(api, 60)
        reply = api.http.post("/train/start", json={"seed": 3}, headers={"Prefer": "respond-async"})
        assert reply.status_code == 202
        task_id = reply.json()["task_id"]
        status = api.finished(task_id, START_S, kind="train")
        assert status["status"] == "SUCCESS", status
        assert api.http.get(reply.headers["location"]).json() == status
        assert status["progress"] == 1
        assert status["metrics"]
        (model,) = [one for one in api.http.get("/models").json() if one["version"] == status["model_version"]]
        assert model["metrics"]
        assert model["training_id"] == task_id
        assert any(row["training_id"] == task_id for row in api.http.get("/content/datasets").json())

    def test_no_body_is_as_good_as_an_empty_one(self, api: Api) -> None:
        reply = api.http.post("/train/start")
        assert reply.status_code == 200
        api.finished(reply.json()["task_id"], START_S, kind="train")

    def test_waiting_for_the_end(self, api: Api) -> None:
        reply = api.http.post("/train/start", json={"max_lists": 2}, headers={"Prefer": "wait=30"})
        assert reply.status_code == 200
        assert reply.headers["preference-applied"] == "wait=30"
        assert reply.json()["status"] == "FAILURE"

    @pytest.mark.parametrize("body", [{"seed": -1}, {"seed": "x"}, {"seeed": 1}, {"max_lists": 2**40}, [], None])
    def test_settings_that_are_none(self, api: Api, body: object) -> None:
        problem(api.http.post("/train/start", content=json.dumps(body)), 422, "invalid_request")


def _answered_lists(api: Api, count: int) -> None:
    """Simulated travellers (seeded) ask and choose according to their hidden preference."""
    rng = np.random.default_rng(11)
    for one in synthetic.travellers(count, 11):
        body = {name: getattr(one, name) for name in one.__dataclass_fields__}
        answered = api.answer({**body, "time_arrival": str(one.time_arrival)})
        places = [Place(**{name: shown[name] for name in PLACE_FIELDS}) for shown in answered["results"]]
        chosen = synthetic.choose(one, places, rng)
        location_id = places[chosen].location_id if chosen >= 0 else -1
        assert api.select(answered["task_id"], location_id).status_code == 200


class TestModels:
    def test_shares_are_sticky_and_stay_whole(self, api: Api) -> None:
        models = api.http.get("/models").json()
        if len(models) < 2:
            _answered_lists(api, 60)
            trained = api.http.post("/train/start", headers={"Prefer": "wait=60"}).json()
            assert trained["status"] == "SUCCESS"
            models = api.http.get("/models").json()
        assert sum(one["share"] for one in models) == 100
        one, other = models[0], models[-1]
        for model, share in ((one, 100), (other, 40)):
            reply = api.http.put(f"/models/{model['id']}/share", json={"share": share})
            assert reply.status_code == 200
            present = {row["id"]: row["share"] for row in api.http.get("/models").json()}
            assert present[model["id"]] == share
            assert sum(present.values()) == 100
        users = [str(uuid4()) for _ in range(40)]
        first = {user: api.answer(traveller(user_id=user))["model_version"] for user in users}
        assert set(first.values()) == {one["version"], other["version"]}
        again = {user: api.answer(traveller(user_id=user, nights=2))["model_version"] for user in users}
        assert again == first

    def test_shares_that_are_none(self, api: Api) -> None:
        (model, *_) = api.http.get("/models").json()
        before = api.http.get("/models").json()
        for share in (-1, 101, 1.5, "half", None, 2**70):
            problem(api.http.put(f"/models/{model['id']}/share", json={"share": share}), 422, "invalid_request")
        problem(api.http.put(f"/models/{model['id']}/share", json={}), 422, "invalid_request")
        problem(api.http.put("/models/999999/share", json={"share": 1}), 404, "not_found")
        problem(api.http.put("/models/x/share", json={"share": 1}), 422, "invalid_request")
        assert api.http.get("/models").json() == before


class TestOperations:
    def test_metrics_are_counted_by_route(self, api: Api) -> None:
        task_id = api.answer()["task_id"]
        api.status(task_id)
        reply = api.http.get("/metrics")
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/plain")
        assert "/inference/status/{task_id}" in reply.text
        assert task_id not in reply.text
        assert re.search(r"^# TYPE \w+ (counter|histogram|gauge|summary)$", reply.text, re.MULTILINE)

    def test_health(self, api: Api) -> None:
        assert api.http.get("/healthz/live").status_code == 200
        reply = api.http.get("/healthz/ready")
        assert reply.status_code == 200
        assert {"database": "ok", "broker": "ok", "cache": "ok"}.items() <= reply.json().items()

    def test_pages_for_people(self, api: Api) -> None:
        front = api.http.get("/")
        assert front.status_code == 200
        assert front.headers["content-type"].startswith("text/html")
        assert 'href="/docs"' in front.text
        assert api.http.get("/docs").status_code == 200
        described = api.http.get("/openapi.json").json()["paths"]
        for path in (
            "/inference/start",
            "/inference/select/",
            "/train/start",
            "/content/info",
            "/models/{model_id}/share",
        ):
            assert path in described


@pytest.fixture(scope="module")
def empty(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API without workers and without places, whose database was migrated after its start."""
    cluster = Cluster(services, "empty", tmp_path_factory.mktemp("empty"), redis_database=0)
    try:
        cluster.start_api()
        unready = eventually(lambda: cluster.api.http.get("/healthz/ready"), START_S)
        assert unready.status_code == 503
        cluster.run("migrate")
        cluster.wait_until_ready()
        yield cluster
    finally:
        cluster.end()


class TestEmptyCatalogue:
    def test_a_start_is_refused_and_not_stored(self, empty: Cluster) -> None:
        reply = empty.api.http.post("/inference/start", json=traveller(), headers={"Idempotency-Key": "k"})
        problem(reply, 503, "no_places")
        with within(2):
            problem(start(empty.api, "wait=10"), 503, "no_places")
        assert empty.rows("SELECT 1 FROM users UNION ALL SELECT 1 FROM events") == []
        assert empty.rows("SELECT 1 FROM idempotency_keys") == []
        assert empty.api.info()["locations"] == 0

    def test_lists_are_empty(self, empty: Cluster) -> None:
        for path in ("/content/locations", "/content/datasets", "/models"):
            assert empty.api.http.get(path).json() == []

    def test_the_first_place_is_enough(self, empty: Cluster) -> None:
        empty.api.http.put("/content/locations", json=[place(0)]).raise_for_status()
        assert empty.api.status(empty.api.start(traveller(), **{"Idempotency-Key": "k"}))["status"] == "PENDING"
        empty.api.http.delete("/content/location/0").raise_for_status()
        problem(empty.api.http.post("/inference/start", json=traveller()), 503, "no_places")

    def test_a_training_before_anyone_has_chosen(self, empty: Cluster) -> None:
        empty.start_worker("training")
        try:
            task_id = empty.api.http.post("/train/start").json()["task_id"]
            status = empty.api.finished(task_id, START_S, kind="train")
        finally:
            empty.kill("training")
        assert (status["status"], status["error"]["code"]) == ("FAILURE", "not_enough_data")

    def test_migrations_by_two_at_once_and_twice(self, empty: Cluster) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(empty.run, ["migrate"] * 2))
