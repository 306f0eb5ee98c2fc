"""The definitions that a broker imports at its start, for each version of RabbitMQ."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from placerank.queue import topology
from placerank.queue.definitions import definitions, password_hash

OLD, NEW = (3, 10), (4, 1)


def made(version: tuple[int, int]) -> dict[str, Any]:
    # Through JSON, as the broker reads it.
    read: dict[str, Any] = json.loads(json.dumps(definitions(version, user="me", password="secret", vhost="/trips")))
    return read


def policy_of(found: dict[str, Any], queue: str) -> dict[str, Any]:
    (policy,) = [each for each in found["policies"] if re.search(each["pattern"], queue)]
    assert policy["apply-to"] in {"queues", "quorum_queues"}
    definition: dict[str, Any] = policy["definition"]
    return definition


@pytest.mark.parametrize("version", [(3, 10), (3, 11)])
def test_an_old_broker_gets_no_policy_that_it_does_not_know(version: tuple[int, int]) -> None:
    assert "consumer-timeout" not in json.dumps(made(version))


@pytest.mark.parametrize("version", [(3, 12), (3, 13), (4, 0), (4, 1), (4, 3)])
def test_a_training_may_take_hours_on_a_newer_one(version: tuple[int, int]) -> None:
    found = made(version)
    assert policy_of(found, topology.TRAINING.name)["consumer-timeout"] >= 60 * 60 * 1000
    assert "consumer-timeout" not in policy_of(found, topology.INFERENCE.name)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_queues_are_quorum_queues_declared_with_nothing_else(version: tuple[int, int]) -> None:
    found = made(version)
    assert {queue["name"] for queue in found["queues"]} == {
        "placerank.inference",
        "placerank.training",
        "placerank.dead-letters",
    }
    for queue in found["queues"]:
        assert queue["arguments"] == {"x-queue-type": "quorum"}
        assert queue["durable"]
        assert not queue["auto_delete"]


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("queue", ["placerank.inference", "placerank.training"])
def test_work_queues_refuse_what_is_too_much_and_keep_what_fails(version: tuple[int, int], queue: str) -> None:
    policy = policy_of(made(version), queue)
    assert policy["overflow"] == "reject-publish"
    assert policy["max-length"] > 100_000  # the backlog limit of the API
    assert policy["dead-letter-exchange"] == "placerank.dlx"
    assert policy["delivery-limit"] >= 100


def test_looking_at_dead_letters_does_not_use_them_up() -> None:
    assert policy_of(made((4, 0)), topology.DEAD_LETTER_QUEUE) == {"delivery-limit": -1}
    # An older broker has no delivery limit unless a policy sets one.
    assert not any(re.search(policy["pattern"], topology.DEAD_LETTER_QUEUE) for policy in made(OLD)["policies"])


@pytest.mark.parametrize("version", [OLD, NEW])
def test_policies_hold_for_the_project_s_queues_only(version: tuple[int, int]) -> None:
    patterns = [policy["pattern"] for policy in made(version)["policies"]]
    for other in (
        "placerank.dead-letters.other",
        "celery_delayed_3",
        "placerankxinference",
        "placerank.inference.other",
    ):
        assert not any(re.search(pattern, other) for pattern in patterns)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_queue_is_bound(version: tuple[int, int]) -> None:
    found = made(version)
    bound = {(each["source"], each["routing_key"], each["destination"]) for each in found["bindings"]}
    assert bound == {
        ("placerank", "placerank.inference", "placerank.inference"),
        ("placerank", "placerank.training", "placerank.training"),
        ("placerank.dlx", "#", "placerank.dead-letters"),
    }
    assert {(each["name"], each["type"]) for each in found["exchanges"]} == {
        ("placerank", "topic"),
        ("placerank.dlx", "topic"),
    }


def test_the_user_is_in_the_file_and_the_password_is_not() -> None:
    found = made(NEW)
    (user,) = found["users"]
    assert user["name"] == "me"
    assert "secret" not in json.dumps(found)
    (permission,) = found["permissions"]
    assert (permission["user"], permission["vhost"]) == ("me", "/trips")
    # https://www.rabbitmq.com/docs/passwords#this-is-the-algorithm
    hashed = base64.b64decode(user["password_hash"])
    assert hashed[4:] == hashlib.sha256(hashed[:4] + b"secret").digest()
    assert user["hashing_algorithm"] == "rabbit_password_hashing_sha256"


def test_the_hash_is_the_one_of_the_broker_s_own_documentation() -> None:
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_the_same_password_is_hashed_with_another_salt_each_time() -> None:
    assert password_hash("secret") != password_hash("secret")
