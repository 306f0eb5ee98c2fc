"""On a cluster with the Prometheus operator, every panel has data, also those about replicas and KEDA."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from tests.acceptance.harness import eventually
from tests.e2e.kubernetes import CommandFailed, Namespace, run
from tests.e2e.load import bodies
from tools.dashboards.pages import ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.dashboards.parts import Query

QUERIES = [query for page in ALL for panel in page.panels for query in panel.queries]
#: Series that exist only after an error.
SILENT = ("keda_scaler_detail_errors_total",)


def prometheus() -> Callable[[str], list[dict[str, Any]]]:
    """A function that queries the cluster's Prometheus through the API server; skips the tests if there is none."""
    try:
        found = json.loads(run("kubectl", "get", "prometheuses.monitoring.coreos.com", "-A", "-o", "json"))["items"]
    except CommandFailed:
        found = []
    if not found:
        pytest.skip("this cluster has no Prometheus")
    place = found[0]["metadata"]["namespace"]
    root = f"/api/v1/namespaces/{place}/services/prometheus-operated:9090/proxy/api/v1/query?query="

    def ask(expression: str) -> list[dict[str, Any]]:
        reply = json.loads(run("kubectl", "get", "--raw", root + quote(expression)))
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    return ask


@pytest.fixture(scope="module")
def asked(namespace: Namespace) -> Callable[[str], list[dict[str, Any]]]:
    """Queries the Prometheus of a monitored release that has answered requests."""
    ask = prometheus()
    namespace.upgrade("--reuse-values", "--set", "monitoring.enabled=true", "--set", "monitoring.interval=5s")
    with httpx.Client(base_url=namespace.url(), trust_env=False, timeout=60) as client:
        for body in bodies(100):
            client.post("/inference/start", json=body, headers={"Prefer": "wait=30"})
    eventually(lambda: ask(f'placerank_broker_connected{{namespace="{namespace.name}"}}'), 180, every_s=2)
    return ask


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.expression[:60])
def test_a_query_has_data(query: Query, asked: Callable[[str], list[dict[str, Any]]], namespace: Namespace) -> None:
    if any(name in query.expression for name in SILENT) and not asked(SILENT[0]):
        pytest.skip("no scaler has failed yet")
    expression = query.expression.replace("$namespace", namespace.name).replace("$__rate_interval", "5m")
    if "selections_total" in expression or "answer_score" in expression or "training_metric" in expression:
        # There are no choices or trainings here, so no data. Prometheus only has to accept the expression.
        asked(expression)
        return
    eventually(lambda: asked(expression), 120, every_s=3)


def test_prometheus_has_taken_up_the_rules(asked: Callable[[str], list[dict[str, Any]]]) -> None:
    eventually(lambda: asked("placerank:objective:backlog_age_seconds"), 180, every_s=3)
