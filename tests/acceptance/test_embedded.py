"""Everything in one process and one folder, and the command line beside it."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psutil
import pytest
from tests.acceptance.harness import (
    PLACE_FIELDS,
    Embedded,
    clean_environment,
    command,
    eventually,
    problem,
    traveller,
)

from placerank.demo import synthetic
from placerank.files import places as places_file
from placerank.postgres.process import PidFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from placerank.domain import Place

DEMO_PLACES = 210


def places_command(embedded: Embedded, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command("places", *map(str, arguments), "--data-dir", str(embedded.data_dir))


def write_without_ids(path: Path, places: list[Place]) -> Path:
    """A typical TSV file of a user: with a header, without ids."""
    columns = PLACE_FIELDS[1:]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([getattr(one, name) for name in columns] for one in places)
    return path


def catalogue(embedded: Embedded) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = embedded.api.http.get("/content/locations", params={"limit": 1000}).json()
    return found


class TestLives:
    def test_a_restart_finds_everything_again(self, embedded: Embedded) -> None:
        api, kept = embedded.api, embedded.first["answered"]
        assert api.status(kept["task_id"])["model_version"] == kept["model_version"]
        assert api.results(kept["task_id"]) == kept["results"]
        assert api.info()["locations"] == DEMO_PLACES == embedded.first["info"]["locations"]
        assert api.info()["users"] >= embedded.first["info"]["users"] == 1
        assert api.user_of("first")
        chosen = [row for row in api.http.get(f"/content/results/{kept['task_id']}").json() if row["chosen"]]
        assert [row["position"] for row in chosen] == [2]
        assert api.http.get("/models").json() == embedded.first["models"]
        again = api.answer(traveller(user_id="first"))
        assert again["model_version"] == kept["model_version"]

    def test_a_training_on_a_single_choice_says_so(self, embedded: Embedded) -> None:
        trained = embedded.first["trained"]
        assert (trained["status"], trained["error"]["code"]) == ("FAILURE", "not_enough_data")

    def test_the_only_model_keeps_its_share(self, embedded: Embedded) -> None:
        (model,) = embedded.api.http.get("/models").json()
        assert model["share"] == 100
        problem(embedded.api.http.put(f"/models/{model['id']}/share", json={"share": 40}), 409, "share_conflict")

    def test_it_prints_its_address_and_a_call_that_works(self, embedded: Embedded, tmp_path: Path) -> None:
        said = embedded.process.output
        assert f"http://127.0.0.1:{embedded.port}" in said
        call = said[said.rindex("curl ") : said.rindex("\n\nCtrl-C")]
        answered = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=True, timeout=30)
        assert len(json.loads(answered.stdout)["results"]) == 10

    def test_a_second_one_in_the_same_folder(self, embedded: Embedded) -> None:
        ended = command("run", "--port", "0", "--data-dir", str(embedded.data_dir))
        assert ended.returncode == 1
        assert len(ended.stderr.strip().splitlines()) == 1
        assert str(embedded.data_dir) in ended.stderr
        assert embedded.api.answer()

    def test_a_port_that_is_taken(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = command("run", "--port", str(port), "--data-dir", str(tmp_path / "data"))
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert str(port) in ended.stderr
        assert not (tmp_path / "data").exists()


class Clients:
    """Clients that start inferences until they are told to end; ``accepted`` has the ids of those that got a 200."""

    def __init__(self, url: str, count: int = 4) -> None:
        self._url = url
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._ending = threading.Event()
        self._threads = ThreadPoolExecutor(count)
        self._running = [self._threads.submit(self._ask) for _ in range(count)]

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._threads.shutdown()
        for one in self._running:
            one.result()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as http:
            while not self._ending.is_set():
                try:
                    reply = http.post("/inference/start", json=traveller())
                except httpx.TransportError:
                    assert self._ending.is_set() or self.lenient
                    return
                self.statuses[reply.status_code] += 1
                if reply.status_code == 200:
                    self.accepted.append(reply.json()["task_id"])
                else:
                    problem(reply, 503, "database_unavailable")

    #: Whether the process may end while they ask.
    lenient = False


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Embedded]:
    """``placerank run``, of which the database may be killed."""
    made = Embedded(tmp_path)
    made.start()
    made.wait_until_ready()
    yield made
    made.close()


class TestTheDatabaseDies:
    @staticmethod
    def server(embedded: Embedded) -> int:
        """The process id of the server that runs now; 0 while there is none."""
        file = PidFile.read(embedded.data_dir / "postgresql" / "data")
        return file.pid if file is not None else 0

    def kill(self, embedded: Embedded) -> None:
        before = self.server(embedded)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.server(embedded) not in {0, before, embedded.process.pid})

    def test_nothing_that_was_accepted_is_lost_and_clients_are_told_to_try_again(self, mortal: Embedded) -> None:
        with Clients(mortal.api.url) as clients:
            eventually(lambda: clients.statuses[200] > 20)
            self.kill(mortal)
            eventually(lambda: mortal.api.http.get("/healthz/ready").status_code == 200, 20)
            served = clients.statuses[200]
            eventually(lambda: clients.statuses[200] > served + 20)
        assert set(clients.statuses) <= {200, 503}
        for task_id in clients.accepted:
            assert mortal.api.finished(task_id)["status"] == "SUCCESS"
        text = mortal.api.http.get("/metrics").text
        assert "placerank_postgres_restarts_total 1.0" in text
        assert 'placerank_part_failures_total{part="bundled PostgreSQL"} 1.0' in text
        assert 'placerank_part_failures_total{part="relay"} 0.0' in text
        said = mortal.process.output
        assert said.count("bundled PostgreSQL failed") == 1
        assert said.count("the server was started again") == 1
        second = command("run", "--port", "0", "--data-dir", str(mortal.data_dir))
        assert second.returncode == 1
        assert str(mortal.data_dir) in second.stderr

    def test_after_the_fourth_time_the_process_ends_with_a_sentence_and_leaves_nothing(self, mortal: Embedded) -> None:
        with Clients(mortal.api.url) as clients:
            clients.lenient = True
            for _ in range(3):
                self.kill(mortal)
                eventually(lambda: mortal.api.http.get("/healthz/ready").status_code == 200, 20)
            family = psutil.Process(mortal.process.pid).children(recursive=True)
            os.kill(self.server(mortal), signal.SIGKILL)
            eventually(lambda: not mortal.process.alive())
        assert mortal.process.code == 1
        last = mortal.process.output.strip().splitlines()[-1]
        assert last.startswith("placerank: bundled PostgreSQL failed 4 times within 60 s, so this process ends: ")
        assert str(mortal.data_dir / "postgresql" / "server.log") in last
        _, left = psutil.wait_procs(family, timeout=5)
        assert not left
        # The next start finds everything that was accepted, and finishes it.
        mortal.start()
        mortal.wait_until_ready()
        for task_id in clients.accepted:
            assert mortal.api.finished(task_id)["status"] == "SUCCESS"


class TestPlaces:
    def test_an_import_is_served_without_a_restart(self, embedded: Embedded, tmp_path: Path) -> None:
        places = synthetic.places(321, 5)
        ended = places_command(embedded, "import", write_without_ids(tmp_path / "mine.tsv", places))
        assert ended.returncode == 0, ended.stderr
        assert "321" in ended.stdout
        rows = catalogue(embedded)
        assert [row["location_id"] for row in rows] == list(range(1, 322))
        assert [row["price"] for row in rows] == [one.price for one in places]
        mine = {one.price for one in places}
        eventually(lambda: {one["price"] for one in embedded.api.answer()["results"]} <= mine)
        # The answer of before the import still shows the old places.
        assert embedded.api.results(embedded.first["answered"]["task_id"]) == embedded.first["answered"]["results"]

    def test_rows_without_ids_are_appended(self, embedded: Embedded, tmp_path: Path) -> None:
        before = embedded.api.info()["locations"]
        top = max(row["location_id"] for row in catalogue(embedded))
        ended = places_command(embedded, "import", write_without_ids(tmp_path / "more.tsv", synthetic.places(5, 6)))
        assert ended.returncode == 0, ended.stderr
        rows = catalogue(embedded)
        assert len(rows) == before + 5
        assert [row["location_id"] for row in rows[-5:]] == list(range(top + 1, top + 6))

    def test_a_file_with_bad_rows_is_not_imported(self, embedded: Embedded, tmp_path: Path) -> None:
        file = write_without_ids(tmp_path / "bad.tsv", synthetic.places(20, 7))
        lines = file.read_text().splitlines()
        for line, value in ((3, "a lot"), (11, "-5"), (17, "nan")):
            cells = lines[line - 1].split("\t")
            cells[PLACE_FIELDS.index("price") - 1] = value
            lines[line - 1] = "\t".join(cells)
        lines[18] = "too\tfew"
        file.write_text("\n".join(lines) + "\n")
        before = catalogue(embedded)
        ended = places_command(embedded, "import", file)
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        for line in (3, 11, 17, 19):
            assert f"line {line}" in ended.stderr
        assert "line 4" not in ended.stderr
        assert catalogue(embedded) == before
        skipped = places_command(embedded, "import", "--skip-bad", file)
        assert skipped.returncode == 0, skipped.stderr
        assert embedded.api.info()["locations"] == len(before) + 16

    def test_what_is_exported_can_replace_everything(self, embedded: Embedded, tmp_path: Path) -> None:
        places = synthetic.places(50, 8)
        first, second = tmp_path / "first.csv.gz", tmp_path / "second.jsonl"
        places_file.write_places(first, places)
        assert places_command(embedded, "import", "--replace", first).returncode == 0
        assert catalogue(embedded) == [{name: getattr(one, name) for name in PLACE_FIELDS} for one in places]
        eventually(lambda: all(one["location_id"] <= 50 for one in embedded.api.answer()["results"]))
        assert places_command(embedded, "export", second).returncode == 0
        # Import other places first, so that the next import has to change every place.
        write_without_ids(tmp_path / "between.tsv", synthetic.places(70, 9))
        assert places_command(embedded, "import", "--replace", tmp_path / "between.tsv").returncode == 0
        assert embedded.api.info()["locations"] == 70
        assert places_command(embedded, "import", "--replace", second).returncode == 0
        assert catalogue(embedded) == [{name: getattr(one, name) for name in PLACE_FIELDS} for one in places]

    @pytest.mark.parametrize(
        ("name", "content"), [("empty.csv", b""), ("header.csv", b"price\n1\n"), ("noise.csv", bytes(range(256)) * 9)]
    )
    def test_files_that_are_none(self, embedded: Embedded, tmp_path: Path, name: str, content: bytes) -> None:
        before = embedded.api.info()["locations"]
        (tmp_path / name).write_bytes(content)
        ended = places_command(embedded, "import", "--replace", tmp_path / name)
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert name in ended.stderr
        assert embedded.api.info()["locations"] == before


class TestSettings:
    """Every command checks its settings and ends with an error. Unit tests cover which values are wrong."""

    @pytest.mark.parametrize(
        ("arguments", "variable", "environment"),
        [
            ("api", "PLACERANK_API__PORT", {"PLACERANK_API__PORT": "abc"}),
            ("api", "PLACERANK_API__PROT", {"PLACERANK_API__PROT": "8000"}),
            ("api", "PLACERANK_API__ADMIN_KEYS", {"PLACERANK_API__ADMIN_KEYS": " "}),
            ("api --host=", "PLACERANK_API__HOST", {}),
            ("run", "PLACERANK_API__KEYS", {"PLACERANK_API__KEYS": ",", "PLACERANK_API__ADMIN_KEYS": "one"}),
            ("run", "PLACERANK_ADMIN_KEYS", {"PLACERANK_ADMIN_KEYS": "secret"}),
            ("relay", "PLACERANK_BROKER__PASSWORD", {"PLACERANK_BROKER__PASSWORD": "  "}),
            ("migrate", "DATABASE_URL", {"DATABASE_URL": "postgresql://db/trips?sslmode=require&sslrootcert="}),
            ("migrate", "DATABASE_URL", {"DATABASE_URL": "nonsense"}),
            ("relay", "CELERY_BROKER_URL", {"CELERY_BROKER_URL": "redis://localhost"}),
            ("worker --queue inference", "CELERY_BACKEND_URL", {"CELERY_BACKEND_URL": "redis://localhost/zero"}),
            ("worker --queue training", "PLACERANK_WORKER__THREADS", {"PLACERANK_WORKER__THREADS": "8"}),
            ("run", "PLACERANK_API__ADMIN_KEYS", {"PLACERANK_API__KEYS": "one,two"}),
            ("config", "PLACERANK_INFERENCE__ANSWER_SIZE", {"PLACERANK_INFERENCE__ANSWER_SIZE": "101"}),
        ],
    )
    def test_a_wrong_one_stops_the_start_with_a_sentence(
        self, arguments: str, variable: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        ended = command(*arguments.split(), environment=environment, cwd=tmp_path)
        assert ended.returncode == 2
        assert variable in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert ended.stdout == ""
        assert list(tmp_path.iterdir()) == []

    def test_config_prints_what_is_in_force_and_hides_secrets(self) -> None:
        secret = uuid4().hex
        environment = {
            "DATABASE_URL": f"postgresql+psycopg2://me:{secret}@db:5433/x",
            "CELERY_BROKER_URL": f"pyamqp://me:{secret}@mq//",
            "CELERY_BACKEND_URL": f"redis://:{secret}@cache/3",
            "PLACERANK_API__KEYS": secret,
            "PLACERANK_API__ADMIN_KEYS": secret,
            "PLACERANK_WORKER__BATCH_SIZE": "32",
        }
        ended = command("config", environment=environment)
        assert ended.returncode == 0, ended.stderr
        assert secret not in ended.stdout + ended.stderr
        for variable in (*environment, "PLACERANK_API__PORT"):
            assert variable in ended.stdout
        assert "PLACERANK_WORKER__BATCH_SIZE=32 " in ended.stdout
        assert "postgresql://me:***@db:5433/x" in ended.stdout


def test_the_api_never_loads_what_only_workers_need() -> None:
    """In a separate process, because this one has already loaded all of them."""
    code = """
import sys
from placerank import runtime
from placerank.api import server
from placerank.api.app import create_app
from placerank.config import settings
create_app(runtime.api_runtime(settings.load()))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(ended.stdout.split())
    assert "fastapi" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "sklearn", "scipy", "celery", "kombu", "safetensors"}
