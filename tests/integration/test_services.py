"""The tools that start services: each service answers, can be stopped and started again, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from tools import services as tools
from tools.services import NAMES, Services, ServiceUnavailable, install, management, sources
from tools.services.container import container
from tools.services.private import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]

CALLER = """
import json, sys
from tools import services

with services.start(sys.argv[1:], install=False) as found:
    pids = [pid for name in sys.argv[1:] for pid in (found.root_pid(name), *found.pids(name))]
    folders = [str(found._process(name).folder) for name in sys.argv[1:]]
    print(json.dumps([pids, folders]), flush=True)
    sys.stdin.readline()
"""


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def url_of(services: Services, name: str) -> str:
    return {"postgresql": services.database_url, "rabbitmq": services.broker_url, "redis": services.cache_url}[name]


def answers(url: str) -> bool:
    """Whether the server reacts: each of the three servers answers these bytes or closes the connection."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=0.5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return connection.recv(1) is not None
    except OSError:
        return False


@pytest.fixture(params=NAMES)
def owned(request: pytest.FixtureRequest, services: Services) -> str:
    name: str = request.param
    if not services.owned(name):
        pytest.skip(f"{name} was not started here")
    return name


def test_a_stopped_service_is_away_and_comes_back_at_its_address(services: Services, owned: str) -> None:
    url = url_of(services, owned)
    assert answers(url)
    services.stop(owned)
    try:
        assert not answers(url)
        assert services.pids(owned) == []
    finally:
        services.start(owned)
    assert answers(url)


def test_a_paused_service_does_not_answer_until_it_goes_on(services: Services, owned: str) -> None:
    url, before = url_of(services, owned), set(services.pids(owned))
    services.pause(owned)
    try:
        assert not answers(url)
    finally:
        services.resume(owned)
    assert eventually(lambda: answers(url))
    assert before & set(services.pids(owned))


def test_committed_rows_survive_a_kill(services: Services) -> None:
    if not services.owned("postgresql"):
        pytest.skip("PostgreSQL was not started here")
    url = services.create_database(f"kill_{secrets.token_hex(4)}")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    services.kill("postgresql")
    services.start("postgresql")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (1,)


def test_postgresql_is_as_durable_as_in_production(services: Services) -> None:
    with psycopg.connect(services.database_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SELECT current_setting('{setting}')").fetchone() == ("on",)


def test_databases_keep_apart(services: Services) -> None:
    one, other = (services.create_database(f"apart_{secrets.token_hex(4)}") for _ in range(2))
    with psycopg.connect(one) as connection:
        connection.execute("CREATE TABLE here ()")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)


def test_a_virtual_host_has_the_projects_queues(services: Services) -> None:
    address = services.management_url
    if address is None:
        pytest.skip("the address of the broker's management API is not known")
    name = f"vhost_{secrets.token_hex(4)}"
    assert services.create_vhost(name).endswith(f"/{name}")
    wanted = management.definitions((3, 10), "user", "password", name)["queues"]
    assert management.has_queues(address, name, [queue["name"] for queue in wanted])


def test_services_listen_on_the_loopback_only(services: Services, owned: str) -> None:
    psutil = pytest.importorskip("psutil")
    listening = []
    for pid in services.pids(owned):
        with suppress(psutil.NoSuchProcess):
            listening += [
                connection.laddr.ip
                for connection in psutil.Process(pid).net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def arguments(*pids: int | None) -> str:
    """The command lines of processes, which every user can read; some processes may end meanwhile."""
    lines = []
    for pid in pids:
        with suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    return "\n".join(lines).replace("\0", " ")


def test_no_argument_of_a_process_holds_a_password(services: Services, owned: str) -> None:
    addresses = (services.database_url, services.broker_url, services.management_url or "")
    passwords = {password for address in addresses if (password := urlsplit(address).password)}
    shown = arguments(services.root_pid(owned), *services.pids(owned))
    assert "keeper.py" in shown
    assert passwords
    assert not any(password in shown for password in passwords)


@contextmanager
def caller(*names: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Another process that has started services, and the paths that exist as long as the services run.

    PostgreSQL starts and ends helper processes by itself, so that one of them may already be gone.
    """
    if not all(sources.KINDS[name].find() for name in names):
        pytest.skip("the servers are not installed")
    variables = {kind.variable for kind in sources.KINDS.values()}
    environment = {key: value for key, value in os.environ.items() if key not in variables}
    command = [sys.executable, "-c", CALLER, *names]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        pids, folders = json.loads(process.stdout.readline())
        running = [trace for pid in pids if Path(trace := f"/proc/{pid}").exists()]
        assert len(running) >= 2 * len(names)
        assert all(Path(folder).exists() for folder in folders)
        yield process, [*running, *folders]


def gone(traces: list[str]) -> bool:
    return not any(Path(trace).exists() for trace in traces)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_caller_ends(number: signal.Signals) -> None:
    with caller("redis", "postgresql") as (process, traces):
        process.send_signal(number)
        process.wait()
        assert eventually(lambda: gone(traces))


def test_no_erlang_daemon_is_left_when_the_caller_is_killed() -> None:
    with caller("rabbitmq") as (process, traces):
        process.kill()
        process.wait()
        assert eventually(lambda: gone(traces))


def test_closing_waits_until_all_have_ended() -> None:
    with caller("redis", "postgresql") as (process, traces):
        process.communicate("\n")
        assert process.returncode == 0
        assert gone(traces)


def test_a_service_that_does_not_start_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = sources.KINDS["redis"].find()
    if binary is None:
        pytest.skip("redis-server is not installed")
    monkeypatch.delenv("CELERY_BACKEND_URL", raising=False)
    monkeypatch.setattr("tools.services.redis.OPTIONS", ["--no-such-option", "1"])
    with pytest.raises(ServiceUnavailable, match=r"(?s)redis ended while it was starting.*no-such-option"):
        tools.start(["redis"], install=False)


def test_an_address_in_the_environment_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BACKEND_URL", "redis://cache.example:6379/3")
    with tools.start(["redis"], install=False) as found:
        assert found.cache_url == "redis://cache.example:6379/3"
        assert not found.owned("redis")
        assert found.pids("redis") == []
        with pytest.raises(ServiceUnavailable, match="unset CELERY_BACKEND_URL"):
            found.stop("redis")


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BACKEND_URL", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServiceUnavailable, match=r"Set CELERY_BACKEND_URL, start Docker, or .* redis-server"):
        tools.start(["redis"], install=False)


DOCKER = """#!{python}
import os, re, signal, sys
open({calls!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["image", "inspect"]:
    sys.exit(1)
if sys.argv[1] == "run":
    port = re.search(r"-p 127.0.0.1:(\\d+):6379 redis:8 ", " ".join(sys.argv))[1]
    os.execv({server!r}, ["redis-server", *sys.argv[sys.argv.index("redis-server") + 1:], "--port", port])
"""


def test_a_container_is_used_where_no_server_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = sources.KINDS["redis"].find()
    if server is None:
        pytest.skip("redis-server is not installed")
    docker, calls = tmp_path / "docker", tmp_path / "calls"
    docker.write_text(DOCKER.format(python=sys.executable, calls=str(calls), server=server))
    docker.chmod(0o755)
    monkeypatch.delenv("CELERY_BACKEND_URL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with tools.start(["redis"], install=False) as found:
        assert answers(found.cache_url)
        assert not found.owned("redis")
    assert not answers(found.cache_url)
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["info", "image", "pull", "run"]


def test_a_container_gets_its_password_by_the_environment(tmp_path: Path) -> None:
    docker, got = tmp_path / "docker", tmp_path / "got"
    docker.write_text(f"""#!/bin/sh
[ "$1" = run ] || exit 0
printf '%s\\n' "$*" "$SECRET" > {got}
exec sleep 60
""")
    docker.chmod(0o755)
    process = container(str(docker), "any", "any:1", ports={1: free_port()}, env={"SECRET": "hunter2"})
    try:
        process.start(lambda: got.exists() and got.read_text().endswith("\nhunter2\n"), threading.Event())
        assert got.read_text().splitlines()[0].endswith(" -e SECRET any:1")
        assert "hunter2" not in arguments(process.keeper_pid, *process.pids())
    finally:
        process.close()


def test_packages_are_kept_from_starting_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy, seen = tmp_path / "policy-rc.d", []
    monkeypatch.setattr(install, "POLICY", policy)
    monkeypatch.setattr(install, "_apt", lambda *arguments: seen.append((arguments[0], os.access(policy, os.X_OK))))
    install.install(["redis-server"])
    assert seen == [("update", True), ("install", True)]
    assert not policy.exists()
    policy.write_text("somebody else's")
    install.install(["redis-server"])
    assert policy.read_text() == "somebody else's"
