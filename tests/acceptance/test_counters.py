"""The counters that Prometheus scrapes agree with the rows in the database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, LiteralString

import pytest
from tests.acceptance.harness import eventually
from tests.acceptance.observed import INFERENCE, Observed, start_prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services
    from tools.services.prometheus import Prometheus

#: OBSERVED_INFERENCES=10000 runs a longer version of the test.
COUNT = int(os.environ.get("OBSERVED_INFERENCES", "400"))

COUNTED: dict[str, LiteralString] = {
    "sum(placerank_inferences_started_total)": "SELECT count(*) FROM inferences",
    "sum(placerank_results_stored_total)": "SELECT count(*) FROM inferences WHERE status = 'SUCCESS'",
    "sum(placerank_inferences_failed_total)": "SELECT count(*) FROM inferences WHERE status = 'FAILURE'",
    "sum(placerank_inferences_cancelled_total)": "SELECT count(*) FROM inferences WHERE status = 'REVOKED'",
    "sum(placerank_results_unused_total)": "SELECT count(*) FROM events WHERE kind = 'result_unused'",
    "sum(placerank_selections_total)": "SELECT count(*) FROM events WHERE kind = 'selected'",
    'sum(placerank_selections_total{replaced="false"})': "SELECT count(choice) FROM inferences",
    'sum(placerank_selections_total{position="none"})': "SELECT count(*) FROM events WHERE location_id = -1",
    "sum(placerank_answer_age_seconds_count)": (
        "SELECT count(*) FROM inferences WHERE status IN ('SUCCESS', 'FAILURE')"
    ),
    "sum(placerank_answer_score_count)": "SELECT count(*) FROM inferences WHERE status = 'SUCCESS'",
}


@pytest.fixture(scope="module")
def cluster(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """With two workers, so that sums are over processes."""
    found = Observed(services, "counted", tmp_path_factory.mktemp("counted"), redis_database=0)
    found.add_metrics("second")
    try:
        found.start_all()
        found.start("second", "worker", "--queue", "inference")
        yield found
        found.end()
    finally:
        for process in found.processes.values():
            process.close()


@pytest.fixture(scope="module")
def prometheus(cluster: Observed) -> Iterator[Prometheus]:
    found = start_prometheus(cluster)
    yield found
    found.close()


def test_counters_are_the_rows(cluster: Observed, prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.value(f'placerank_queue_consumers{{queue="{INFERENCE}"}}') == 2, 60, every_s=0.5)
    cluster.work_for_everything()
    cluster.ask(COUNT)
    eventually(lambda: not cluster.rows("SELECT id FROM inferences WHERE finished_at IS NULL LIMIT 1"), 120)
    for expression, query in COUNTED.items():
        (row,) = cluster.rows(query)
        (stored,) = row.values()
        eventually(lambda: prometheus.value(expression) == stored, 20, every_s=0.5)  # noqa: B023
        print(f"{expression} = {stored}")
    versions = cluster.rows(
        "SELECT model_version AS version, count(*) AS count FROM inferences WHERE status = 'SUCCESS' GROUP BY 1"
    )
    for row in versions:
        series = f'sum(placerank_results_stored_total{{model_version="{row["version"]}"}})'
        assert prometheus.value(series) == row["count"]
    both = prometheus.query("placerank_batch_size_count > 0")
    assert {row["metric"]["pod"] for row in both} == {"inference", "second"}


def test_every_message_was_published_once(cluster: Observed, prometheus: Prometheus) -> None:
    (row,) = cluster.rows("SELECT count(*) AS count FROM inferences")
    published = f'sum(placerank_messages_published_total{{queue="{INFERENCE}",result="confirmed"}})'
    eventually(lambda: prometheus.value(published) == row["count"], 20, every_s=0.5)
    assert prometheus.value("sum(placerank_confirms_in_flight)") == 0


def test_a_request_is_counted_by_its_route_and_not_by_its_path(cluster: Observed, prometheus: Prometheus) -> None:
    handlers = {row["metric"]["handler"] for row in prometheus.query("http_requests_total")}
    assert {"/inference/start", "/inference/status/{task_id}", "/inference/results/{task_id}"} <= handlers
    assert not [handler for handler in handlers if any(letter.isdigit() for letter in handler)]


def test_queue_and_consumers_are_the_broker_s(cluster: Observed, prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.value(f'placerank_queue_consumers{{queue="{INFERENCE}"}}') == 2, 20, every_s=0.5)
    assert prometheus.value(f'placerank_queue_messages{{queue="{INFERENCE}",state="ready"}}') == 0
    assert prometheus.value("placerank_catalogue_places{pod='second'}") == 210
    assert prometheus.value("sum by (pod) (placerank_model_share_ratio{pod='second'})") == 1
