"""``placerank status`` and ``placerank doctor``: what they report, and their exit codes."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.acceptance.harness import PLACERANK, clean_environment, command, eventually
from tests.integration.support import start_of, store, thread_database

from placerank.worker.first_model import ensure_first_model

if TYPE_CHECKING:
    from pathlib import Path

    from tools.services import Services


@pytest.fixture
def environment(services: Services, database_url: str, broker_url: str, cache_url: str) -> dict[str, str]:
    """A migrated system without places, model or workers."""
    return {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker_url,
        "CELERY_BACKEND_URL": cache_url,
        "PLACERANK_BROKER__MANAGEMENT_URL": services.management_url or "",
    }


def fill(environment: dict[str, str]) -> None:
    """Add places and a model, as a healthy system has them."""
    assert command("places", "demo", environment=environment).returncode == 0
    database = thread_database(environment["DATABASE_URL"])
    ensure_first_model(database)
    database.close()


def test_a_system_without_places_or_model_is_unhealthy_and_told_what_to_do(environment: dict[str, str]) -> None:
    found = command("status", environment=environment)
    assert found.returncode == 1, found.stderr
    assert "The catalogue is empty: run placerank places import FILE." in found.stdout
    found = command("doctor", environment=environment)
    assert found.returncode == 1
    assert "✗ The system works normally" in found.stdout
    assert "→" in found.stdout


def test_a_healthy_system_is_shown_with_its_figures(environment: dict[str, str]) -> None:
    fill(environment)
    found = command("status", environment=environment)
    assert found.returncode == 0, found.stdout + found.stderr
    for text in ("healthy", "placerank.inference", "placerank.dead-letters", "v1", "100 %", "210", "answered"):
        assert text in found.stdout, text
    found = command("doctor", environment=environment)
    assert found.returncode == 0, found.stdout
    assert "✗" not in found.stdout
    assert found.stdout.count("✓") >= 8


def test_what_waits_too_long_is_unhealthy(environment: dict[str, str]) -> None:
    fill(environment)
    (task_id,) = store(environment["DATABASE_URL"], [start_of()])
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE inferences SET created_at = now() - interval '5 minutes' WHERE id = %s", (task_id,))
    found = command("status", environment=environment)
    assert found.returncode == 1
    assert re.search(r"The oldest inference has waited 3\d\d s", found.stdout)
    assert re.search(r"unpublished for 3\d\d s", found.stdout)


def test_a_model_that_cannot_be_read_is_named(environment: dict[str, str]) -> None:
    fill(environment)
    found = command("doctor", environment=environment)
    assert "✓ Every model in use can be read" in found.stdout
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "INSERT INTO models (kind, digest, artifact, use_percentage) VALUES ('logit', 'x', 'broken', 40)"
        )
    found = command("doctor", environment=environment)
    assert found.returncode == 1
    assert "✗ Every model in use can be read" in found.stdout
    assert "v2 is not served" in found.stdout
    assert "placerank models share" in found.stdout
    assert "Traceback" not in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("variable", "name"),
    [("DATABASE_URL", "PostgreSQL"), ("CELERY_BROKER_URL", "RabbitMQ"), ("CELERY_BACKEND_URL", "Redis")],
)
def test_a_service_that_is_away_is_named_and_the_others_are_still_seen(
    variable: str, name: str, environment: dict[str, str]
) -> None:
    fill(environment)
    away = urlsplit(environment[variable])._replace(netloc="someone:secret-word@127.0.0.1:9").geturl()
    broken = environment | {variable: away}
    found = command("doctor", environment=broken)
    assert found.returncode == 1
    assert f"✗ {name} answers" in found.stdout
    assert "secret-word" not in found.stdout + found.stderr
    others = {"PostgreSQL", "RabbitMQ", "Redis"} - {name}
    assert all(f"✓ {other} answers" in found.stdout for other in others)
    found = command("status", environment=broken)
    assert found.returncode == 1
    assert "does not answer" in found.stdout
    assert "Traceback" not in found.stdout + found.stderr


def test_a_wrong_password_is_said_to_be_one(environment: dict[str, str]) -> None:
    url = urlsplit(environment["CELERY_BROKER_URL"])
    netloc = f"{url.username}:wrong-password@{url.hostname}:{url.port}"
    found = command("doctor", environment=environment | {"CELERY_BROKER_URL": url._replace(netloc=netloc).geturl()})
    assert found.returncode == 1
    assert "✗ RabbitMQ accepts user and password" in found.stdout
    assert "wrong-password" not in found.stdout + found.stderr


def test_a_wrong_setting_ends_the_doctor_s_visit() -> None:
    found = command("doctor", environment={"PLACERANK_WORKER__THREADS": "none"})
    assert found.returncode == 2
    assert "PLACERANK_WORKER__THREADS" in found.stdout


def test_watching_goes_on_until_it_is_ended(environment: dict[str, str], tmp_path: Path) -> None:
    fill(environment)
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [PLACERANK, "status", "--watch", "--interval", "0.2"],
        env=clean_environment() | environment | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""

    def looks() -> bool:
        nonlocal shown
        shown += os.read(mine, 65536)
        return len(re.findall(rb"Queues", shown)) >= 3

    try:
        eventually(looks, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, shown[-2000:]
    finally:
        process.kill()
        process.wait()
        os.close(mine)
