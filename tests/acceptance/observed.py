"""A cluster whose processes are all scraped by a Prometheus, with work for all metrics."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import Cluster, Process, eventually, traveller
from tests.conftest import in_ci
from tools.services import ServiceUnavailable, prometheus
from tools.services.private import free_port

from placerank.queue import topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.services import Services
    from tools.services.prometheus import Prometheus

CHART = Path(__file__).resolve().parents[2] / "charts" / "placerank"
ALERTS = CHART / "files" / "alerts.yaml"
_LABELS = {"namespace": "placerank"}


class Observed(Cluster):
    """Each process has a port for its metrics and keeps it over restarts."""

    def __init__(self, services: Services, name: str, folder: Path, *, redis_database: int) -> None:
        super().__init__(services, name, folder, redis_database=redis_database)
        management = {"PLACERANK_BROKER__MANAGEMENT_URL": services.management_url or ""}
        self.environment |= management | {"PLACERANK_TELEMETRY__SAMPLE_S": "0.5", "PLACERANK_RELAY__INTERVAL_S": "0.2"}
        self.metrics = {name: free_port() for name in ("api", "relay", "inference", "training")}

    def start(self, name: str, *arguments: str) -> Process:
        port = {"PLACERANK_TELEMETRY__METRICS_PORT": str(self.metrics[name])} if name in self.metrics else {}
        process = Process(arguments, self.environment | port, self._folder / f"{name}.log")
        self.processes[name] = process
        process.start()
        return process

    def add_metrics(self, name: str) -> None:
        """Add a process that Prometheus scrapes; call this before it is started."""
        self.metrics[name] = free_port()

    def targets(self) -> dict[str, tuple[str, dict[str, str]]]:
        """The address and the labels of each process, for Prometheus."""
        return {name: (f"127.0.0.1:{port}", {**_LABELS, "pod": name}) for name, port in self.metrics.items()}

    def start_all(self) -> None:
        self.start_worker("inference")
        self.start_worker("training")
        self.run("migrate")
        self.start("relay", "relay")
        self.start_api()
        self.run("places", "demo")
        self.wait_until_ready()
        self.api.answer()

    def travel(self, count: int, threads: int = 32) -> None:
        """``count`` travellers ask, read and choose: most choose one of the first places, some none, some change it."""

        def one(number: int) -> None:
            task_id = self.api.start()
            self.api.finished(task_id, within_s=60)
            shown = self.api.results(task_id)
            draw = random.Random(number)
            if number % 4:
                place = -1 if number % 7 == 0 else shown[min(int(draw.expovariate(0.7)), 9)]["location_id"]
                self.api.select(task_id, place).raise_for_status()
                if number % 50 == 1:
                    self.api.select(task_id, shown[9]["location_id"]).raise_for_status()

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(count)))

    def ask(self, count: int, threads: int = 16) -> None:
        """``count`` travellers start an inference and do not wait."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: self.api.start(), range(count)))

    def work_for_everything(self) -> None:
        """Answers, cancellations, missed deadlines, bad requests and a training."""
        self.travel(100)
        # A rate needs two scrapes: what the first scrape finds does not count as a change.
        time.sleep(2.5 * prometheus.SCRAPE_S)
        self.travel(100)
        for _ in range(3):
            self.api.http.delete(f"/inference/{self.api.start()}")
        self.api.http.post("/inference/start", json={"name": "nobody"})
        self.api.http.post("/inference/start", json=traveller(), params={"deadline": 0.000001})
        self.api.http.post("/train/start", headers={"Prefer": "wait=60"}).raise_for_status()


def start_prometheus(cluster: Observed, rules: Sequence[Path] = ()) -> Prometheus:
    """A Prometheus that scrapes every process. Without one, the test is skipped; in CI it fails."""
    try:
        program = prometheus.find(install=os.geteuid() == 0)
    except ServiceUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    server = prometheus.Prometheus(program, cluster.targets(), rules)
    eventually(lambda: (up := server.targets_up()) and all(up.get(name) for name in cluster.processes), 60)
    return server


INFERENCE = topology.INFERENCE.name
