"""The notes after an installation say how to reach the API, and what is missing."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.chart.rendering import CHART, helm


def notes(*sets: str) -> str:
    """The notes of a release, rendered without a cluster."""
    command = [str(helm()), "install", "mine", str(CHART), "--namespace", "trips", "--dry-run=client"]
    command += [part for one in ("autoscaling.mode=hpa", *sets) for part in ("--set", one)]
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.partition("\nNOTES:\n")[2]


def test_they_say_how_to_reach_it() -> None:
    text = notes("api.service.port=8080")
    assert "kubectl --namespace trips port-forward service/mine-api 8000:8080" in text
    assert "curl -s -X POST http://127.0.0.1:8000/inference/start" in text
    assert "helm --namespace trips test mine --logs" in text


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ((), "The catalogue begins with 210 made-up places."),
        (("catalogue.demo=false",), "The catalogue is empty until you import places"),
        ((), "Every route is open."),
        ((), "Workers do not scale with the queue's length (autoscaling.mode is hpa)"),
        ((), "Nothing outside the cluster reaches the API."),
        (("networkPolicy.enabled=false",), "Any pod of the cluster can reach the services"),
        ((), "PostgreSQL and RabbitMQ of this release run on one pod each"),
        ((), "Prometheus does not scrape the metrics"),
    ],
)
def test_they_say_what_is_missing(sets: tuple[str, ...], sentence: str) -> None:
    assert sentence in notes(*sets)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("api.auth.existingSecret=keys", "Every route is open."),
        ("api.service.type=LoadBalancer", "Nothing outside the cluster reaches the API."),
    ],
)
def test_they_do_not_miss_what_is_there(setting: str, sentence: str) -> None:
    assert sentence not in notes(setting)
