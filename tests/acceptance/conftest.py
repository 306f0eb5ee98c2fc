"""Processes that the acceptance tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import Cluster, Embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services


@pytest.fixture(scope="session")
def whole_cluster(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """API, relay and both workers as processes, with the demo's catalogue."""
    cluster = Cluster(services, "acceptance", tmp_path_factory.mktemp("cluster"), redis_database=1)
    cluster.run("migrate")
    try:
        cluster.start_worker("inference")
        cluster.start_worker("training")
        cluster.start("relay", "relay")
        cluster.start_api()
        cluster.run("places", "demo")
        cluster.wait_until_ready()
        cluster.api.answer()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, every process of which outlives the test."""
    whole_cluster.check()
    yield whole_cluster
    whole_cluster.check()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """``placerank run`` in a folder of its own."""
    embedded = Embedded(tmp_path_factory.mktemp("embedded"))
    try:
        embedded.start()
        embedded.wait_until_ready()
        embedded.api.answer()
        yield embedded
        embedded.process.stop()
    finally:
        embedded.close()
