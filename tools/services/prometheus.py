"""A private Prometheus for tests of dashboards and alerts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any

from . import install as installing
from .errors import ServiceUnavailable
from .private import LOOPBACK, Private, free_port, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGE = "prometheus"
#: Seconds between scrapes.
SCRAPE_S = 1
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus:
    """A server that scrapes ``targets`` once a second; every series gets the labels of its target."""

    def __init__(
        self, binary: str, targets: Mapping[str, tuple[str, Mapping[str, str]]], rules: Sequence[Path] = ()
    ) -> None:
        """``targets`` maps each job to an address, ``host:port``, and labels."""
        port = free_port()
        self.started_at = time.time()
        self.url = f"http://{LOOPBACK}:{port}"
        argv = [
            *(binary, "--config.file={folder}/prometheus.json", "--storage.tsdb.path={folder}/data"),
            *(f"--web.listen-address={LOOPBACK}:{port}", "--query.lookback-delta=10s", "--log.level=warn"),
        ]
        self._process = Private("prometheus", argv, user=unprivileged_user("prometheus"))
        folder = self._process.folder
        for rule in rules:
            shutil.copy(rule, folder / rule.name)
        config = {
            "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{SCRAPE_S}s"),
            "rule_files": [str(folder / rule.name) for rule in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address], "labels": dict(labels)}]}
                for job, (address, labels) in targets.items()
            ],
        }
        # JSON is YAML.
        (folder / "prometheus.json").write_text(json.dumps(config))
        for path in folder.iterdir():
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            self._process.start(partial(_answers, self.url), threading.Event())
        except BaseException:
            self._process.close()
            raise

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The current series of an expression; raises ``ValueError`` if the expression is invalid."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The value of an expression's first series; ``None`` if it has no series."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """The series of an expression over a time range, in seconds since the epoch."""
        params = {"query": expression, "start": str(start), "end": str(end), "step": str(step_s)}
        found: list[dict[str, Any]] = self._get("query_range", **params)["result"]
        return found

    def alerts(self) -> dict[str, str]:
        """The alerts that are pending or firing."""
        return {one["labels"]["alertname"]: one["state"] for one in self._get("alerts")["alerts"]}

    def targets_up(self) -> dict[str, bool]:
        """For each job, whether its last scrape succeeded."""
        return {row["metric"]["job"]: row["value"][1] == "1" for row in self.query("up")}

    def close(self) -> None:
        """End the server and remove what it has stored."""
        self._process.close()

    def _get(self, path: str, **params: str) -> Any:
        try:
            with _opener.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(params)}", timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{params}: {error.read().decode(errors='replace')}") from None


def find(*, install: bool) -> str:
    """The server's program, installed from Debian's package if it is missing; raises ``ServiceUnavailable``."""
    if found := shutil.which("prometheus"):
        return found
    if install and installing.can_install():
        installing.install([PACKAGE])
        if found := shutil.which("prometheus"):
            return found
    raise ServiceUnavailable("Prometheus is missing: install it (on Debian, as root: apt-get install prometheus).")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool that comes with Prometheus."""
    program = shutil.which("promtool") or "promtool"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env={**os.environ})


def _answers(url: str) -> bool:
    try:
        with _opener.open(f"{url}/-/ready", timeout=1):
            return True
    except OSError:
        return False
