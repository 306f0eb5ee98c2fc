"""Fuzzing from the API's own OpenAPI description: no request breaks the API, and every reply is documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.harness import Cluster, clean_environment, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.services import Services

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
#: For each operation, in addition to the cases that cover the bounds of each parameter.
EXAMPLES = 20
SEED = 20
#: Longer than the longest wait that a request can ask for.
TIMEOUT_S = 70


@pytest.fixture
def fuzzed(services: Services, database_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """An API with its own data: the generated requests change the catalogue and erase travellers."""
    cluster = Cluster(services, "fuzzed", tmp_path, redis_database=15, database_url=database_url)
    try:
        cluster.start_api()
        cluster.wait_until_ready()
        cluster.api.http.put("/content/locations", json=[place(number) for number in range(20)]).raise_for_status()
        cluster.api.start()
        yield cluster
        assert "Traceback" not in cluster.processes["api"].output
    finally:
        cluster.end()


def test_every_reply_is_a_described_one(fuzzed: Cluster, tmp_path: Path) -> None:
    options = {
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": EXAMPLES,
        "--seed": SEED,
        "--request-timeout": TIMEOUT_S,
    }
    arguments = [str(part) for option in options.items() for part in option]
    url = f"{fuzzed.api.url}/openapi.json"
    ended = subprocess.run(
        [SCHEMATHESIS, "--config-file", CONFIGURATION, "run", url, *arguments, "--no-shrink", "--no-color"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-30_000:] + ended.stderr
    fuzzed.check()
    assert fuzzed.api.http.get("/healthz/ready").status_code == 200
