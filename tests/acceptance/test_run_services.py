"""``make run-services``: what it starts, and that it ends everything. A small script stands in for ``placerank``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tools.services import Services, private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]

PLACERANK = """
import http.server, os, sys, time
import psycopg

command = " ".join(sys.argv[1:])
print("argv", command, flush=True)
print("management", os.environ.get("PLACERANK_BROKER__MANAGEMENT_URL"), flush=True)
if command in os.environ.get("DIES", "-").split(","):
    sys.exit(3)
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    if command == "migrate":
        connection.execute("CREATE TABLE IF NOT EXISTS locations (id int)")
    if command.startswith("places"):
        connection.execute("INSERT INTO locations VALUES (1)")
if sys.argv[1] == "api":
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz/ready" else 404)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[3])), Ready).serve_forever()
elif sys.argv[1] in ("relay", "worker"):
    while True:
        time.sleep(60)
"""


@pytest.fixture
def environment(services: Services) -> dict[str, str]:
    """Addresses of the session's services, so that only the placerank processes are started here."""
    url = services.create_database(f"run_{os.getpid()}_{time.monotonic_ns()}")
    known = {"RABBITMQ_MANAGEMENT_URL": services.management_url} if services.management_url else {}
    return {**os.environ, **services.environment(), **known, "DATABASE_URL": url, "PORT": str(private.free_port())}


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    (folder / "placerank.py").write_text(PLACERANK)
    state = folder / "run" / "services.json"
    command = [sys.executable, "-m", "tools.run_services", "--state", str(state)]
    command += ["--placerank", f"{sys.executable} {folder / 'placerank.py'}"]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process, state
        finally:
            process.kill()
            process.wait()


def eventually(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def read(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(state.read_text())
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_introduces_itself_and_ends_all_that_it_started(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    with running(tmp_path, environment) as (process, state):
        output = tmp_path / "output"
        # The children write their own lines, which may come after the introduction.
        awaited = ("Ctrl-C ends everything", "inference | argv", "training | argv", "relay | management")
        assert eventually(lambda: all(line in output.read_text() for line in awaited)), output.read_text()
        told = read(state)
        assert set(told["pids"]) == {"api", "relay", "inference", "training"}
        assert told["addresses"]["DATABASE_URL"] == environment["DATABASE_URL"]
        assert state.stat().st_mode & 0o077 == 0
        process.send_signal(number)
        assert process.wait(25) == 0
        assert all(gone(pid) for pid in told["roots"].values())
        assert not state.exists()
        said = output.read_text()
    assert f"relay | management {environment.get('RABBITMQ_MANAGEMENT_URL')}" in said
    assert "places | argv places demo" in said
    assert "inference | argv worker --queue inference" in said
    assert "curl -s" in said
    assert f"http://127.0.0.1:{environment['PORT']}/inference/start" in said
    assert ":***@" in said


def test_a_catalogue_that_is_there_is_kept_and_a_named_one_is_imported(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    output = tmp_path / "output"
    for places, expected in (
        (None, "argv places demo"),
        (None, None),
        ("some.csv", "argv places import --replace some.csv"),
    ):
        named = {"PLACES": places} if places else {}
        with running(tmp_path, {**environment, **named}) as (process, _):
            assert eventually(lambda: "Ctrl-C ends everything" in output.read_text()), output.read_text()
            process.terminate()
            assert process.wait(25) == 0
        if expected:
            assert expected in output.read_text()
        else:
            assert "argv places" not in output.read_text()


@pytest.mark.parametrize(
    ("command", "name"), [("migrate", "migrate"), ("relay", "relay"), ("worker --queue training", "training")]
)
def test_it_says_which_process_has_died_and_ends_the_rest(
    tmp_path: Path, environment: dict[str, str], command: str, name: str
) -> None:
    with running(tmp_path, {**environment, "DIES": command}) as (process, state):
        assert process.wait(25) == 1
        assert not state.exists()
    assert f"{name} ended with code 3." in (tmp_path / "output").read_text()


def test_a_killed_child_ends_the_rest(tmp_path: Path, environment: dict[str, str]) -> None:
    with running(tmp_path, environment) as (process, state):
        assert eventually(lambda: state.exists() and state.read_text().endswith("}\n"))
        roots = read(state)["roots"]
        os.kill(roots["relay"], signal.SIGKILL)
        assert process.wait(25) == 1
        assert all(gone(pid) for pid in roots.values())
    assert "relay was killed by SIGKILL." in (tmp_path / "output").read_text()


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path, environment: dict[str, str]) -> None:
    with running(tmp_path, environment) as (process, state):
        assert eventually(lambda: state.exists() and state.read_text().endswith("}\n"))
        roots = read(state)["roots"]
        process.kill()
        assert eventually(lambda: all(gone(pid) for pid in roots.values()))
