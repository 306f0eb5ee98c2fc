"""One release for all tests of a run, in its own namespace, which is removed at the end."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.e2e.kubernetes import NAMESPACE, Images, Namespace, run
from tests.e2e.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Faster scaling than in production, and workers so slow that a burst needs more of them.
VALUES = [
    *("--set", "autoscaling.keda.pollingInterval=2"),
    *("--set", "autoscaling.keda.cooldownPeriod=10"),
    *("--set", "autoscaling.behavior.scaleDown.stabilizationWindowSeconds=10"),
    *("--set-json", 'autoscaling.behavior.scaleDown.policies=[{"type":"Percent","value":100,"periodSeconds":5}]'),
    *("--set", "worker.classes.cpu.targetBacklog=200"),
    *("--set", "worker.classes.cpu.maxReplicas=3"),
    *("--set", "worker.classes.cpu.resources.requests.cpu=100m"),
    *("--set", "worker.classes.cpu.resources.limits.cpu=300m"),
]
#: One inference per batch: slow enough that a burst needs more workers on any machine.
SLOW = [*VALUES, "--set", "worker.classes.cpu.batchSize=1"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longer time-outs: clusters are slow."""
    for item in items:
        item.add_marker(pytest.mark.timeout(1800))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print failures at once: a run takes half an hour."""
    if report.failed:
        print(f"\n{report.nodeid} failed:\n{report.longreprtext}", flush=True)


@pytest.fixture(scope="session")
def report() -> Report:
    """The report of the figures."""
    found = Report()
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is not on the PATH.")
    found.about["server"] = json.loads(run("kubectl", "version", "--output=json"))["serverVersion"]["gitVersion"]
    found.about["helm"] = run("helm", "version", "--short").strip()
    found.about["cpus"] = os.cpu_count()
    return found


@pytest.fixture(scope="session")
def namespace(report: Report) -> Iterator[Namespace]:
    """A namespace that enforces Pod Security ``restricted``."""
    images = Images.from_environment()
    report.about["images"] = images.tag
    found = Namespace(os.environ.get("E2E_NAMESPACE") or NAMESPACE, images)
    found.delete()
    found.create()
    yield found
    if not os.environ.get("E2E_KEEP"):
        found.delete()
