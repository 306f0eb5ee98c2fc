"""Upgrades and a rollback under load, and the removal of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import eventually
from tests.e2e.conftest import VALUES
from tests.e2e.kubernetes import API, RELEASE, WORKERS, Namespace, settled
from tests.e2e.load import Stream
from tests.e2e.test_02_scaling import everything_done_once

if TYPE_CHECKING:
    from tests.e2e.report import Report

SECRETS = [f"{RELEASE}-{service}" for service in ("postgresql", "rabbitmq", "redis")]


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Namespace:
    namespace.upgrade(*VALUES)
    settled(namespace, WORKERS, 1)
    return namespace


def images(release: Namespace) -> set[str]:
    return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in release.pods(API)}


def test_three_upgrades_and_a_rollback_fail_no_request(release: Namespace, report: Report) -> None:
    passwords = [release.secret(name) for name in SECRETS]
    revision = release.helm("history", RELEASE, "--max=1", "--output=json")
    with Stream(release.url()) as told:
        release.upgrade(*VALUES)
        release.upgrade(*VALUES, "--set", "logLevel=DEBUG", "--set", "worker.classes.cpu.maxReplicas=4")
        release.upgrade(*VALUES, tag=release.images.next_tag)
        assert images(release) == {release.images.next_tag}
        before = len(told.accepted)
        release.helm("rollback", RELEASE, "--wait", "--timeout=600s")
        settled(release, WORKERS, 1)
        assert images(release) == {release.images.tag}
        eventually(lambda: len(told.accepted) > before + 20, 60)
    counts = everything_done_once(release, told)
    assert [release.secret(name) for name in SECRETS] == passwords
    assert revision
    report.add("Three upgrades and a rollback under load", **counts, failed_requests=len(told.failures))


def test_what_an_uninstall_leaves_is_what_the_docs_say(release: Namespace, report: Report) -> None:
    release.helm("uninstall", RELEASE, "--wait", "--timeout=300s")
    kinds = "deployments,statefulsets,jobs,cronjobs,services,configmaps,secrets,serviceaccounts,persistentvolumeclaims,"
    kinds += "networkpolicies,poddisruptionbudgets,scaledobjects,triggerauthentications,horizontalpodautoscalers"
    # The pod of the last ``helm test`` stays, so that its log can be read.
    eventually(lambda: {pod["metadata"]["name"] for pod in release.get("pods")["items"]} <= {f"{RELEASE}-test"}, 180)
    own = [item for item in release.get(kinds)["items"] if RELEASE in item["metadata"]["name"]]
    left = sorted(f"{item['kind']}/{item['metadata']['name']}" for item in own)
    report.add("Uninstall", left=", ".join(left))
    assert left == sorted(
        [f"Secret/{name}" for name in SECRETS]
        + [f"PersistentVolumeClaim/data-{RELEASE}-{service}-0" for service in ("postgresql", "rabbitmq")]
    )
