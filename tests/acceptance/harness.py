"""Helpers of the acceptance tests: placerank processes, a cluster of them, and an HTTP client."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psutil
import psycopg
from psycopg.rows import dict_row
from tests.ledger import Ledger, connection
from tests.verdict import Rules
from tools.services.private import free_port

from placerank.schema.traveller import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import LiteralString

    from tools.services import Services

T = TypeVar("T")
Json = dict[str, Any]

PLACERANK = str(Path(sys.executable).with_name("placerank"))
PLACE_FIELDS = [
    *("location_id", "children", "breakfast", "lunch", "dinner", "price", "has_pool", "has_spa", "animals"),
    *("near_lake", "near_mountains", "has_sport", "family_rating", "outdoor_rating", "food_rating"),
    *("leisure_rating", "service_rating", "user_score"),
]
SHOWN_FIELDS = {"score", *PLACE_FIELDS}
START_S = 60.0
STOP_S = 20.0
#: Twice the promised time: machines that run tests may be slow.
EMBEDDED_STOP_S = 10.0
PROBLEM = "application/problem+json"
#: For requests with ``content=``: bodies that no JSON library would write.
JSON_HEADERS = {"Content-Type": "application/json"}

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before any fork


def traveller(**changes: Any) -> Json:
    """A traveller with a unique name and these changes."""
    return {**EXAMPLE, "name": f"Traveller {uuid4()}", "budget": 350.5} | changes


def place(location_id: int, **changes: Any) -> Json:
    """A place that suits ``traveller`` better than any of the demo's."""
    flags = dict.fromkeys(PLACE_FIELDS[1:5] + PLACE_FIELDS[6:12], True)
    ratings = dict.fromkeys(PLACE_FIELDS[12:], 6.0)
    return {"location_id": location_id, **flags, "price": 200.25, **ratings} | changes


def eventually(condition: Callable[[], T], within_s: float = 30.0, *, every_s: float = 0.05) -> T:
    """Wait until the condition is true and return its value; connections may fail meanwhile. Fails after a time-out."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            found = condition()
        except httpx.TransportError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"no connection within {within_s:.0f} s") from error
        else:
            if found:
                return found
            assert time.monotonic() < deadline, f"not true within {within_s:.0f} s; at last {found!r}"
        time.sleep(every_s)


def problem(reply: httpx.Response, status: int, code: str) -> Json:
    """The body of the reply, after checking that it is a problem with this status and code."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"].split(";")[0] == PROBLEM
    body: Json = reply.json()
    assert {"type", "title", "status", "code", "detail"} <= set(body)
    assert (body["status"], body["code"]) == (status, code), body
    assert isinstance(body["detail"], str)
    assert body["detail"]
    for leak in ("Traceback", "psycopg", "SELECT ", "INSERT ", 'File "'):
        assert leak not in reply.text
    if status == 503:
        assert int(reply.headers["retry-after"]) > 0
    return body


def fields(body: Json) -> set[str]:
    """The wrong fields that a 422 names."""
    return {error["field"] for error in body["errors"]}


class Api:
    """The routes that tests use most, over persistent connections. ``ledger`` records every reply."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = Ledger()
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        hooks: dict[str, list[Callable[..., None]]] = {"request": [self._asking], "response": [self._heard]}
        self.http = httpx.Client(base_url=url, timeout=70, trust_env=False, limits=limits, event_hooks=hooks)

    def close(self) -> None:
        self.http.close()

    def info(self) -> Json:
        reply = self.http.get("/content/info")
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        return found

    def start(self, body: Json | None = None, **headers: str) -> str:
        """Starts an inference; returns its id."""
        reply = self.http.post("/inference/start", json=body or traveller(), headers=headers)
        assert reply.status_code == 200, reply.text
        return str(UUID(reply.json()["task_id"]))

    def answer(self, body: Json | None = None, **headers: str) -> Json:
        """Starts an inference and waits; returns the reply, which contains the places."""
        reply = self.http.post("/inference/start", json=body or traveller(), headers={"Prefer": "wait=30", **headers})
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        assert found["status"] == "SUCCESS", found
        return found

    def status(self, task_id: str, kind: str = "inference", **params: float) -> Json:
        reply = self.http.get(f"/{kind}/status/{task_id}", params=params)
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        return found

    def finished(self, task_id: str, within_s: float = 30.0, kind: str = "inference") -> Json:
        """Wait until a task has finished; returns its status."""

        def look() -> Json | None:
            found = self.status(task_id, kind)
            return found if found["status"] in {"SUCCESS", "FAILURE", "REVOKED"} else None

        return eventually(look, within_s) or {}

    def results(self, task_id: str, **params: int) -> list[Json]:
        reply = self.http.get(f"/inference/results/{task_id}", params=params)
        assert reply.status_code == 200, reply.text
        found: list[Json] = reply.json()
        return found

    def select(self, task_id: str, location_id: int) -> httpx.Response:
        return self.http.put("/inference/select/", json={"task_id": task_id, "location_id": location_id})

    def user_of(self, user_id: str) -> Json:
        """The one row of ``/content/users`` with this ``user_id``."""
        (found,) = self.http.get("/content/users", params={"user_id": user_id}).json()
        user: Json = found
        return user

    def _asking(self, request: httpx.Request) -> None:
        self.ledger.asking(_client(), request)

    def _heard(self, reply: httpx.Response) -> None:
        reply.read()
        self.ledger.heard(_client(), reply)


def _client() -> str:
    """The name of this thread as a client: a thread sends a request only after the reply to its last one."""
    return str(threading.get_ident())


class Process:
    """One placerank process; it can be killed, stopped and started again."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.arguments = list(arguments)
        self.log = log
        self._environment = {**clean_environment(), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PLACERANK, *self.arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_end_with_parent,
            )

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = STOP_S) -> float:
        """Ends it gracefully: it has to exit with 0 and leave no process. Returns the seconds that this took."""
        family = psutil.Process(self.pid).children(recursive=True)
        began = time.monotonic()
        code = self._end(number, within_s)
        took = time.monotonic() - began
        assert code == 0, f"{self.arguments} ended with {code}:\n{self.output[-3000:]}"
        assert "Traceback" not in self.output, self.output[-3000:]
        _, left = psutil.wait_procs(family, timeout=2)
        assert not left, f"{self.arguments} left {left}"
        return took

    def close(self) -> None:
        """Ends it if it still runs; with SIGKILL if SIGTERM does not work."""
        if self.alive():
            try:
                self._end(signal.SIGTERM, STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _end(self, number: signal.Signals, within_s: float = STOP_S) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(within_s)


class Cluster:
    """placerank processes with their own database, virtual host and Redis database."""

    def __init__(
        self, services: Services, name: str, folder: Path, *, redis_database: int, database_url: str | None = None
    ) -> None:
        name = f"{name}_{os.getpid()}"
        self.services = services
        self.database_url = database_url or services.create_database(name)
        self.cache_url = urlsplit(services.cache_url)._replace(path=f"/{redis_database}").geturl()
        self.environment = {
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": services.create_vhost(name),
            "CELERY_BACKEND_URL": self.cache_url,
        }
        self._folder = folder
        self.processes: dict[str, Process] = {}
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command; it has to exit with 0."""
        ended = command(*arguments, environment=self.environment)
        assert ended.returncode == 0, ended.stderr
        return ended

    def start(self, name: str, *arguments: str) -> Process:
        """Starts a process under this name."""
        process = Process(arguments, self.environment, self._folder / f"{name}.log")
        self.processes[name] = process
        process.start()
        return process

    def start_api(self) -> Process:
        return self.start("api", "api", "--port", str(self.port))

    def start_worker(self, name: str = "inference") -> Process:
        return self.start(name, "worker", "--queue", "training" if name == "training" else "inference")

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            self.check()
            return self.api.http.get("/healthz/ready").status_code == 200

        eventually(ready, START_S)

    def check(self) -> None:
        """Checks that every process still runs."""
        for name, process in self.processes.items():
            assert process.alive(), f"{name} has ended:\n{process.output[-3000:]}"

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes.items()}

    def rows(self, query: LiteralString, *parameters: object) -> list[Json]:
        return rows(self.database_url, query, *parameters)

    @contextmanager
    def recorded(self) -> Iterator[Ledger]:
        """A new ledger for this context. At its end, what clients were told has to agree with what is stored."""
        before, self.api.ledger = self.api.ledger, Ledger()
        try:
            yield self.api.ledger
            lenient = Rules(may_be_unfinished=True, may_fail=True)
            self.api.ledger.check(connection(self.database_url), lenient).demand_none()
        finally:
            self.api.ledger = before

    def stop(self, name: str) -> None:
        """Stops one process gracefully."""
        self.processes.pop(name).stop()

    def kill(self, name: str) -> None:
        self.processes.pop(name).kill()

    def end(self) -> None:
        """Stops everything: each process must still run, exit with 0 and leave no process."""
        self.api.close()
        failures: list[AssertionError] = []
        try:
            self.check()
            for process in self.processes.values():
                try:
                    process.stop()
                except AssertionError as failure:
                    failures.append(failure)
        finally:
            for process in self.processes.values():
                process.close()
        if failures:
            raise failures[0]


class Embedded:
    """``placerank run`` with a data folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.data_dir = folder / "data"
        self.first: Json = {}
        self.port = free_port()
        options = ["--port", str(self.port), "--data-dir", str(self.data_dir), *arguments]
        self.process = Process(["run", *options], {}, folder / "run.log")
        self.api = Api(f"http://127.0.0.1:{self.port}")

    @property
    def database_url(self) -> str:
        from placerank.postgres.bundled import BundledPostgres

        url = BundledPostgres.url_of_running(self.data_dir)
        assert url is not None
        return url

    def rows(self, query: LiteralString, *parameters: object) -> list[Json]:
        return rows(self.database_url, query, *parameters)

    def start(self) -> None:
        self.process.start()

    def live_once(self) -> None:
        """The first run. ``first`` keeps its answers for comparison with the second run; no process may be left."""
        began = time.monotonic()
        self.start()
        self.wait_until_ready()
        answered = self.api.answer(traveller(user_id="first"))
        first_s = time.monotonic() - began
        self.api.select(answered["task_id"], answered["results"][2]["location_id"]).raise_for_status()
        trained = self.api.http.post("/train/start", headers={"Prefer": "wait=30"}).json()
        models = self.api.http.get("/models").json()
        self.first = {"answered": answered, "trained": trained, "models": models, "info": self.api.info()}
        stop_s = self.process.stop(signal.SIGINT, EMBEDDED_STOP_S)
        print(f"embedded: first start to first answer {first_s:.1f} s, Ctrl-C to the end {stop_s:.1f} s")
        assert first_s < START_S
        # Also processes that are no longer children: they still have the folder in their command line.
        left = [one for one in psutil.process_iter(["cmdline"]) if str(self.data_dir) in str(one.info["cmdline"])]
        assert not left

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.alive(), self.process.output[-3000:]
            return self.api.http.get("/healthz/ready").status_code == 200

        eventually(ready, START_S)

    def close(self) -> None:
        self.api.close()
        self.process.close()


def clean_environment() -> dict[str, str]:
    """The environment of this process, without settings of placerank and without PYTHONWARNINGS."""
    ours = ("PLACERANK_", "DATABASE_URL", "CELERY_", "OTEL_", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"COLUMNS": "200"}


def command(
    *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a placerank command and waits for its end."""
    return subprocess.run(
        [PLACERANK, *arguments],
        env={**clean_environment(), **(environment or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows(url: str, query: LiteralString, *parameters: object) -> list[Json]:
    """The rows that a query finds."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=5) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if the code inside takes longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= seconds, f"took {took:.2f} s"


def _end_with_parent() -> None:
    """Runs in the child: the kernel ends it if the tests are killed."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
