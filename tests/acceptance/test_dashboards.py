"""Every panel has data and the alerts fire, in a Prometheus that scrapes the running system."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aio_pika
import pytest
import yaml
from tests.acceptance.harness import eventually
from tests.acceptance.observed import ALERTS, Observed, start_prometheus
from tools.dashboards.pages import ALL
from tools.pictures import draw

from placerank.config import addresses
from placerank.queue import topology
from placerank.queue.publisher import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services
    from tools.services.prometheus import Prometheus

QUERIES = [
    pytest.param(query.expression, id=f"{page.name}-{panel.title}-{query.legend}")
    for page in ALL
    for panel in page.panels
    for query in panel.queries
    if not query.on_cluster
]


def quick(folder: Path) -> Path:
    """The chart's rules, changed to fire after seconds instead of minutes."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
            if rule.get("record") == "placerank:objective:backlog_age_seconds":
                rule["expr"] = "vector(2)"
            rule["expr"] = re.sub(r"(outbox_oldest_age_seconds\)) > 30", r"\1 > 3", rule["expr"])
    path = folder / "alerts.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


@pytest.fixture(scope="module")
def cluster(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    found = Observed(services, "observed", tmp_path_factory.mktemp("observed"), redis_database=0)
    try:
        found.start_all()
        yield found
        found.end()
    finally:
        for process in found.processes.values():
            process.close()


@pytest.fixture(scope="module")
def prometheus(cluster: Observed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    found = start_prometheus(cluster, [quick(tmp_path_factory.mktemp("rules"))])
    cluster.work_for_everything()
    yield found
    found.close()


def asked(expression: str) -> str:
    """A query with the dashboard's variables filled in."""
    return expression.replace("$__rate_interval", "2m").replace("$namespace", "placerank")


@pytest.mark.parametrize("expression", QUERIES)
def test_every_panel_has_data(expression: str, prometheus: Prometheus) -> None:
    def found() -> list[dict[str, Any]]:
        return [row for row in prometheus.query(asked(expression)) if row["value"][1] != "NaN"]

    eventually(found, 20, every_s=0.5)


def test_nothing_fires_while_all_is_well(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.query("ALERTS") == [] and not prometheus.alerts(), 30, every_s=0.5)


def test_work_without_a_worker_fires_and_clears(cluster: Observed, prometheus: Prometheus) -> None:
    cluster.stop("inference")
    waiting = [cluster.api.start() for _ in range(5)]
    eventually(lambda: {"PlacerankNoConsumers", "PlacerankBacklogOld"} <= set(prometheus.alerts()), 60, every_s=0.5)
    assert prometheus.alerts()["PlacerankNoConsumers"] == "firing"
    cluster.start_worker("inference")
    for task_id in waiting:
        cluster.api.finished(task_id, within_s=60)
    eventually(lambda: not {"PlacerankNoConsumers", "PlacerankBacklogOld"} & set(prometheus.alerts()), 60, every_s=0.5)


def test_a_dead_letter_fires_and_clears(cluster: Observed, prometheus: Prometheus) -> None:
    assert "PlacerankDeadLetters" not in prometheus.alerts()
    asyncio.run(give_up(cluster.environment["CELERY_BROKER_URL"]))
    eventually(lambda: prometheus.alerts().get("PlacerankDeadLetters") == "firing", 60, every_s=0.5)
    cluster.run("dead-letters", "purge", "--all")
    eventually(lambda: "PlacerankDeadLetters" not in prometheus.alerts(), 60, every_s=0.5)


async def give_up(url: str) -> None:
    """Publish a message to the dead letters."""
    async with await aio_pika.connect(addresses.amqp(url)) as connection:
        channel = await connection.channel()
        await declare(channel)
        letters = await channel.get_exchange(topology.DEAD_LETTER_EXCHANGE)
        body = json.dumps([[str(uuid4())], {}, {}]).encode()
        await letters.publish(aio_pika.Message(body, headers={"id": str(uuid4())}), topology.INFERENCE.name)


def test_a_broker_that_is_away_fires_and_clears(cluster: Observed, prometheus: Prometheus, services: Services) -> None:
    if not services.owned("rabbitmq"):
        pytest.skip("RabbitMQ was not started here")
    services.stop("rabbitmq")
    try:
        eventually(lambda: prometheus.value('min(placerank_broker_connected{pod="api"})') == 0, 60, every_s=0.5)
        waiting = cluster.api.start()
        eventually(lambda: "PlacerankOutboxOld" in prometheus.alerts(), 60, every_s=0.5)
    finally:
        services.start("rabbitmq")
    cluster.api.finished(waiting, within_s=60)
    cluster.travel(60)
    eventually(lambda: "PlacerankOutboxOld" not in prometheus.alerts(), 60, every_s=0.5)


def test_pictures_of_them_can_be_drawn(prometheus: Prometheus, tmp_path: Path) -> None:
    """PICTURES=docs/images writes them there."""
    folder = Path(os.environ.get("PICTURES") or tmp_path)
    for page in ALL:
        file = folder / f"dashboard-{page.name}.svg"
        file.write_text(draw(page, prometheus, asked, seconds=time.time() - prometheus.started_at), encoding="utf-8")
        assert file.read_text().count("<polyline") >= len(page.panels) - 2
        assert file.stat().st_size < 300_000
