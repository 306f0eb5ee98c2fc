"""One request can be followed by its ids through every process, in traces and in log lines."""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.collector import Collector
from tests.acceptance.harness import Cluster, clean_environment, eventually, traveller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.collector import Span
    from tools.services import Services

NAME = "Ottilie Planted-Name"
KEY = "planted-key-0123456789"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.fixture(scope="module")
def cluster(services: Services, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(services, "traced", tmp_path_factory.mktemp("traced"), redis_database=0)
    found.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NO_PROXY": "127.0.0.1",
        "PLACERANK_TELEMETRY__LOG_LEVEL": "DEBUG",
        "PLACERANK_API__KEYS": KEY,
        "PLACERANK_API__ADMIN_KEYS": f"{KEY}-admin",
        "PLACERANK_RELAY__INTERVAL_S": "0.2",
        "PLACERANK_RELAY__GRACE_S": "2",
    }
    found.api.http.headers["Authorization"] = f"Bearer {KEY}-admin"
    try:
        found.start_worker("inference")
        found.run("migrate")
        found.start("relay", "relay")
        found.start_api()
        found.run("places", "demo")
        found.wait_until_ready()
        found.api.answer()
        yield found
        found.end()
    finally:
        for process in found.processes.values():
            process.close()


def context(*, sampled: bool = True) -> tuple[str, str]:
    """A W3C trace context as another service sends it, and its trace id."""
    trace_id = secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-{'01' if sampled else '00'}", trace_id


def lines(cluster: Cluster, process: str) -> list[dict[str, Any]]:
    """The JSON lines that a process has logged; only greetings are not JSON."""
    text = cluster.processes[process].output.splitlines()
    return [json.loads(line) for line in text if line.startswith("{")]


def tree(spans: list[Span]) -> dict[str, str]:
    """The name of each span and the name of its parent."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_id, "") for span in spans}


def test_one_trace_goes_from_the_request_to_the_answer(cluster: Cluster, collector: Collector) -> None:
    sent, trace_id = context()
    cluster.api.answer(traceparent=sent)

    def complete() -> dict[str, str] | None:
        found = tree(collector.of(trace_id))
        return found if {"POST /inference/start", "batch"} <= set(found) else None

    found = eventually(complete, 20)
    assert found == {
        "POST /inference/start": "",
        "INSERT start_inferences": "POST /inference/start",
        "publish placerank.inference": "POST /inference/start",
        "queue wait": "publish placerank.inference",
        "batch": "publish placerank.inference",
        "SELECT read_jobs": "batch",
        "rank": "batch",
        "UPDATE finish_inferences": "batch",
        "SET answers": "batch",
        "read answer": "POST /inference/start",
    }
    spans = collector.of(trace_id)
    assert {span.service for span in spans} == {"placerank-api", "placerank-inference-worker"}
    (server,) = [span for span in spans if span.name == "POST /inference/start"]
    assert server.parent_id == sent.split("-")[2]
    assert server.attributes["http.response.status_code"] == 200
    assert all(span.began_ns <= span.ended_ns for span in spans)
    (stored,) = [span for span in spans if span.name == "SET answers"]
    assert stored.ended_ns <= server.ended_ns + 50_000_000


def test_requests_of_one_batch_are_linked(cluster: Cluster, collector: Collector) -> None:
    cluster.stop("inference")
    traces = []
    for _ in range(5):
        sent, trace_id = context()
        traces.append(trace_id)
        cluster.api.start(traceparent=sent)
    cluster.start_worker("inference")

    def batches() -> list[Span] | None:
        found = [span for trace in traces for span in collector.of(trace) if span.name == "batch"]
        return found if len(found) == len(traces) else None

    found = eventually(batches, 40) or []
    linked = [span for span in found if span.links]
    assert linked
    assert all(set(span.links) < set(traces) and span.trace_id not in span.links for span in linked)


def test_what_the_relay_publishes_stays_in_its_trace(cluster: Cluster, collector: Collector) -> None:
    sent, trace_id = context()
    task_id = cluster.api.start(traceparent=sent)
    cluster.api.finished(task_id)

    def relayed() -> bool:
        # The API may still record the confirmation of its own message; then ``published_at`` is reset again.
        cluster.rows(
            "UPDATE inferences SET finished_at = NULL, status = 'PENDING', published_at = NULL "
            "WHERE id = %s AND (published_at IS NOT NULL OR finished_at IS NOT NULL) RETURNING id",
            task_id,
        )
        return "placerank-relay" in {span.service for span in collector.of(trace_id)}

    eventually(relayed, 30, every_s=0.5)


def test_a_trace_that_is_not_sampled_is_left_alone(cluster: Cluster, collector: Collector) -> None:
    unsampled, trace_id = context(sampled=False)
    cluster.api.answer(traceparent=unsampled)
    sent, after = context()
    cluster.api.answer(traceparent=sent)
    eventually(lambda: {"batch", "POST /inference/start"} <= set(tree(collector.of(after))), 20)
    assert not collector.of(trace_id)


def test_a_context_that_is_none_is_dropped(cluster: Cluster) -> None:
    for broken in ("00-zz-1-01", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", "x" * 5000):
        cluster.api.answer(traceparent=broken)


def test_a_request_is_named_in_every_process(cluster: Cluster) -> None:
    request_id = f"request-{secrets.token_hex(4)}"
    sent, trace_id = context()
    reply = cluster.api.http.post(
        "/inference/start",
        json=traveller(),
        headers={"X-Request-Id": request_id, "traceparent": sent, "Prefer": "wait=30"},
    )
    assert reply.headers["x-request-id"] == request_id
    task_id = reply.json()["task_id"]

    def named(process: str) -> list[dict[str, Any]]:
        return [line for line in lines(cluster, process) if line.get("task_id") == task_id]

    for process in ("api", "inference"):
        found = eventually(lambda: named(process), 20)  # noqa: B023
        assert {line["request_id"] for line in found} == {request_id}, process
        assert {line["trace_id"] for line in found} == {trace_id}, process
        assert any(line.get("model_version") == "v1" for line in found), process


def test_a_request_without_an_id_gets_one(cluster: Cluster) -> None:
    first, second = (cluster.api.http.get("/models").headers["x-request-id"] for _ in range(2))
    assert first != second
    for strange in (b"with space", b"x" * 200, "é".encode()):
        found = cluster.api.http.get("/models", headers={b"X-Request-Id": strange}).headers["x-request-id"]
        assert len(found) == 16


def test_no_line_holds_a_name_or_a_secret(cluster: Cluster) -> None:
    """Also for a refused body, a wrong key and an unknown route."""
    cluster.api.answer(traveller(name=NAME))
    cluster.api.http.post("/inference/start", json=traveller(name=NAME, budget="much"))
    cluster.api.http.post("/inference/start", json=traveller(name=NAME), headers={"Authorization": "Bearer wrong-key"})
    cluster.api.http.get(f"/content/{NAME}")
    password = cluster.environment["DATABASE_URL"].split("@")[0].rsplit(":", 1)[-1]
    for name, process in cluster.processes.items():
        assert NAME not in process.output, name
        assert KEY not in process.output, name
        assert "wrong-key" not in process.output, name
        if password not in {"placerank", "postgres"}:
            assert password not in process.output, name


def test_every_line_in_the_cluster_is_json(cluster: Cluster) -> None:
    for name, process in cluster.processes.items():
        # Celery prints its own farewell.
        spoken = ("{", "placerank listens", "worker: ")
        told = [line for line in process.output.splitlines() if line and not line.startswith(spoken)]
        assert not told, (name, told[:3])
        assert {line["process"] for line in lines(cluster, name)} <= {"api", "relay", "inference-worker"}


def median_s(cluster: Cluster, count: int = 15) -> float:
    """The median seconds of an answer."""

    def one() -> float:
        began = time.perf_counter()
        cluster.api.answer()
        return time.perf_counter() - began

    return statistics.median(one() for _ in range(count))


def test_a_collector_that_is_away_costs_nothing(cluster: Cluster) -> None:
    """Answers take as long as before, and the API stops within seconds."""
    there_s, before = median_s(cluster), cluster.environment
    cluster.stop("api")
    cluster.environment = before | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    try:
        process = cluster.start_api()
        cluster.wait_until_ready()
        away_s = median_s(cluster)
        print(f"median with a collector {there_s * 1e3:.1f} ms, without {away_s * 1e3:.1f} ms")
        assert away_s < 2 * there_s + 0.1
        assert cluster.processes.pop("api").stop() < 10
        assert "Traceback" not in process.output
    finally:
        cluster.environment = before
    cluster.start_api()
    cluster.wait_until_ready()


def test_nothing_of_the_sdk_is_loaded_unless_it_is_asked_for() -> None:
    code = (
        "import os, sys\n"
        "from placerank.telemetry import tracing\n"
        "tracing.set_up('api', os.environ, '0')\n"
        "print(tracing.tracer is None, any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    for environment, off in (
        ({}, True),
        (asked, False),
        (asked | {"OTEL_SDK_DISABLED": "true"}, True),
        (asked | {"OTEL_TRACES_EXPORTER": "none"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ):
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=clean_environment() | environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(off), str(not off)], environment
