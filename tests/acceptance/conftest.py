"""Processes that the acceptance tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import EMBEDDED_STOP_S, Cluster, Embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services


@pytest.fixture(scope="session")
def whole_cluster(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """API, relay and both workers as processes, with the demo's catalogue."""
    cluster = Cluster(services, "acceptance", tmp_path_factory.mktemp("cluster"), redis_database=1)
    try:
        # Workers start first: they take longest, and they wait until the schema exists.
        cluster.start_worker("inference")
        cluster.start_worker("training")
        cluster.run("migrate")
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
    """The cluster. Every process of it outlives the test, and what the test was told is what is stored."""
    whole_cluster.check()
    with whole_cluster.recorded():
        yield whole_cluster
    whole_cluster.check()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """``placerank run`` in its own folder, in its second run: the first was used and ended by Ctrl-C."""
    embedded = Embedded(tmp_path_factory.mktemp("embedded"))
    try:
        embedded.live_once()
        embedded.start()
        embedded.wait_until_ready()
        yield embedded
        embedded.process.stop(within_s=EMBEDDED_STOP_S)
    finally:
        embedded.close()
