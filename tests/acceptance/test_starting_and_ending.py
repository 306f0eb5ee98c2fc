"""How processes start and stop: what they wait for before they start, and how the API drains."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.acceptance.harness import Api, Process, command, eventually, rows, traveller
from tools.services.private import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.services import Services

READY = "The database is migrated, and no service refuses user or password."


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@pytest.fixture
def environment(services: Services, broker_url: str, cache_url: str) -> dict[str, str]:
    """Addresses of the services, with a database that is not migrated."""
    return {
        "DATABASE_URL": services.create_database(f"empty_{time.time_ns()}"),
        "CELERY_BROKER_URL": broker_url,
        "CELERY_BACKEND_URL": cache_url,
    }


@pytest.fixture
def waiting(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts ``placerank wait``."""
    started: list[Process] = []

    def start(**changes: str) -> Process:
        process = Process(["wait"], environment | changes, tmp_path / f"wait-{len(started)}.log")
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.close()


def test_processes_wait_for_the_migration_and_say_so_once(
    waiting: Callable[..., Process], environment: dict[str, str]
) -> None:
    process = waiting()
    eventually(lambda: "run placerank migrate" in process.output)
    assert command("migrate", environment=environment).returncode == 0
    eventually(lambda: not process.alive())
    assert READY in process.output
    assert process.output.count("Waiting:") == 1


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("CELERY_BROKER_URL", "amqp://{host}/"),
        ("CELERY_BACKEND_URL", "redis://nobody:wrong-password@{host}/0"),
    ],
)
def test_credentials_that_are_refused_are_waited_for_and_said_once(
    variable: str, address: str, waiting: Callable[..., Process], environment: dict[str, str]
) -> None:
    assert command("migrate", environment=environment).returncode == 0
    host = urlsplit(environment[variable]).netloc.rpartition("@")[2]
    extra = {"PLACERANK_BROKER__USER": "placerank", "PLACERANK_BROKER__PASSWORD": "wrong-password"}
    process = waiting(**{variable: address.format(host=host)}, **(extra if "BROKER" in variable else {}))
    eventually(lambda: f"{variable}: " in process.output and "refuse" in process.output)
    assert process.alive()
    assert process.output.count("Waiting:") == 1
    assert "wrong-password" not in process.output


def test_a_wrong_password_of_the_database_is_waited_for_and_said_once(
    waiting: Callable[..., Process], environment: dict[str, str], services: Services
) -> None:
    wrong = urlsplit(environment["DATABASE_URL"])
    netloc = f"nobody:wrong-password@{wrong.netloc.rpartition('@')[2]}"
    process = waiting(DATABASE_URL=wrong._replace(netloc=netloc).geturl())
    eventually(lambda: "DATABASE_URL: the database cannot be reached" in process.output)
    assert process.alive()
    assert process.output.count("Waiting:") == 1
    assert "wrong-password" not in process.output


def test_a_broker_and_a_cache_that_are_away_are_not_waited_for(environment: dict[str, str]) -> None:
    assert command("migrate", environment=environment).returncode == 0
    away = {"CELERY_BROKER_URL": "amqp://me:pw@127.0.0.1:1/", "CELERY_BACKEND_URL": "redis://127.0.0.1:1/0"}
    done = command("wait", environment=environment | away)
    assert (done.returncode, done.stdout.strip()) == (0, READY), done.stderr


def test_a_wait_may_end(environment: dict[str, str]) -> None:
    done = command("wait", "--timeout", "1", environment=environment)
    assert done.returncode == 1
    assert "run placerank migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_demo_that_is_not_needed_is_no_error_where_that_was_said(environment: dict[str, str]) -> None:
    for arguments in (["migrate"], ["places", "demo", "--if-empty"], ["places", "demo", "--if-empty"]):
        done = command(*arguments, environment=environment)
        assert done.returncode == 0, done.stderr
    assert "nothing was changed" in done.stdout
    assert command("places", "demo", environment=environment).returncode == 1


def test_definitions_for_the_broker_are_written_with_a_hash_for_the_password(tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    given = {
        "CELERY_BROKER_URL": "amqp://mq:5672/trips",
        "PLACERANK_BROKER__USER": "ada",
        "PLACERANK_BROKER__PASSWORD": "p@ss:wörd/",
    }
    done = command("broker-definitions", "--broker-version", "4.3.1", "--output", str(file), environment=given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    assert [user["name"] for user in found["users"]] == ["ada"]
    assert found["permissions"][0]["vhost"] == "trips"
    assert "wörd" not in file.read_text()


@pytest.mark.parametrize("url", ["amqp://mq/trips", "amqp://ada@mq/trips"])
def test_definitions_that_would_let_nobody_in_are_refused(url: str) -> None:
    done = command("broker-definitions", "--broker-version", "4.3", environment={"CELERY_BROKER_URL": url})
    assert done.returncode == 2
    assert "CELERY_BROKER_URL" in done.stderr


@pytest.fixture
def leaving_api(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Process, Api]]:
    """An API without workers, so that inferences stay pending. It drains for two seconds."""
    for arguments in (["migrate"], ["places", "demo"]):
        assert command(*arguments, environment=environment).returncode == 0
    port = free_port()
    process = Process(
        ["api", "--port", str(port)], {**environment, "PLACERANK_API__DRAIN_S": "2"}, tmp_path / "api.log"
    )
    process.start()
    api = Api(f"http://127.0.0.1:{port}")
    eventually(lambda: api.http.get("/healthz/ready").status_code == 200)
    yield process, api
    api.close()
    process.close()


def test_an_api_that_leaves_serves_on_sends_clients_elsewhere_and_answers_who_waits(
    leaving_api: tuple[Process, Api],
) -> None:
    process, api = leaving_api
    answered: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answered.append(
            api.http.post("/inference/start", json=traveller(), headers={"Prefer": "wait=50"})
        )
    )
    waiting.start()
    eventually(lambda: api.info()["inferences"] == 1)
    assert "connection" not in api.http.get("/healthz/live").headers
    ended = threading.Thread(target=process.stop)
    ended.start()
    reply = eventually(lambda: (found := api.http.get("/healthz/live")).headers.get("connection") and found)
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")
    assert api.start()
    ended.join()
    waiting.join()
    assert answered[0].status_code == 200
    assert answered[0].json()["status"] == "PENDING"
    with pytest.raises(httpx.TransportError):
        api.info()


@pytest.fixture
def relaying(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Process, int]]:
    """A relay on a migrated database, and the port of its metrics."""
    assert command("migrate", environment=environment).returncode == 0
    port = free_port()
    process = Process(
        ["relay"], {**environment, "PLACERANK_TELEMETRY__METRICS_PORT": str(port)}, tmp_path / "relay.log"
    )
    process.start()
    eventually(lambda: failures(port, "relay") == 0)
    yield process, port
    process.close()


def failures(port: int, part: str) -> float | None:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    found = re.search(rf'^placerank_part_failures_total{{part="{part}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else None


def test_a_part_that_fails_is_named_counted_and_starts_again(
    relaying: tuple[Process, int], environment: dict[str, str]
) -> None:
    process, port = relaying
    url = environment["DATABASE_URL"]
    rows(url, "ALTER TABLE inferences RENAME COLUMN published_at TO away")
    eventually(lambda: (failures(port, "relay") or 0) >= 1)
    rows(url, "ALTER TABLE inferences RENAME COLUMN away TO published_at")
    eventually(lambda: "relay failed, it starts again in 0.1 s" in process.output)
    assert "UndefinedColumn" in process.output
    assert process.alive()
    assert failures(port, "canary watch") == 0
    process._end(signal.SIGTERM)
    assert process.code == 0


def test_a_part_that_keeps_failing_ends_its_process_with_a_sentence(
    relaying: tuple[Process, int], environment: dict[str, str]
) -> None:
    process, _ = relaying
    rows(environment["DATABASE_URL"], "ALTER TABLE inferences RENAME COLUMN published_at TO away")
    eventually(lambda: not process.alive())
    assert process.code == 1
    last = process.output.strip().splitlines()[-1]
    assert last.startswith("placerank: relay failed 5 times within 60 s, so this process ends: UndefinedColumn")
    assert process.output.count("relay failed, it starts again") == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_told_to_end_says_nothing_of_failures(
    relaying: tuple[Process, int], number: signal.Signals
) -> None:
    process, _ = relaying
    process.stop(number)
    assert "failed" not in process.output
