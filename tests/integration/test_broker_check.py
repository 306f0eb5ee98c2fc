"""The start-up check finds what a broker lacks, above all policies, which no process declares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from placerank.queue import check, topology
from placerank.queue.definitions import vhost_definitions

if TYPE_CHECKING:
    from tools.services import Services


PLACERANK = str(Path(sys.executable).with_name("placerank"))


@pytest.fixture
def management_url(services: Services) -> str:
    if services.management_url is None:
        pytest.skip("this RabbitMQ has no management API")
    return services.management_url


def test_a_broker_with_the_definitions_lacks_nothing(management_url: str, broker_url: str) -> None:
    assert check.missing(management_url, broker_url) == []


def test_a_broker_that_does_not_answer_is_not_taken_for_a_good_one(broker_url: str) -> None:
    with pytest.raises(check.BrokerNotChecked, match="management API"):
        check.missing("http://127.0.0.1:1", broker_url)


def test_what_a_broker_lacks_is_said_part_by_part() -> None:
    wanted = vhost_definitions((4, 1), "/")
    said = list(check._missing(wanted, {**wanted, "policies": [], "bindings": wanted["bindings"][1:]}))
    assert sum(sentence.startswith("policies: ") for sentence in said) == len(wanted["policies"])
    assert sum(sentence.startswith("bindings: ") for sentence in said) == 1
    changed = [{**policy, "definition": {}} for policy in wanted["policies"]]
    said = list(check._missing(wanted, {**wanted, "policies": changed}))
    assert len(said) == len(changed)
    assert list(check._missing(wanted, wanted)) == []


def test_the_command_prints_definitions_without_the_password() -> None:
    command = [PLACERANK, "broker-definitions", "--broker-version", "4.1"]
    environment = {**os.environ, "CELERY_BROKER_URL": "amqp://ada:secret%20word@mq/trips"}
    environment.pop("PLACERANK_BROKER__PASSWORD", None)
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "secret" not in printed
    found = json.loads(printed)
    assert [user["name"] for user in found["users"]] == ["ada"]
    assert {queue["name"] for queue in found["queues"]} >= {queue.name for queue in topology.WORK_QUEUES}
    assert [vhost["name"] for vhost in found["vhosts"]] == ["trips"]
