"""The scripts that write passwords into the services' files accept every character."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.chart.rendering import of_kind, render

from placerank.queue.definitions import definitions, password_hash

if TYPE_CHECKING:
    from pathlib import Path

PASSWORDS = [
    "simple",
    'quo"te',
    "back\\slash",
    "per%cent %s %b",
    "$HOME `id` $(id)",
    "ünïcödé",
    "a b'c",
    "-n",
    "x" * 99,
]


BLANK = ["", " ", "\n", " \t"]


def _run(script: str, folders: dict[str, Path], shell: str, **variables: str) -> None:
    """Run a script of the chart with other folders (``folders``: path in the script, path here)."""
    for inside, outside in folders.items():
        script = script.replace(inside, str(outside))
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables}
    subprocess.run([shell, "-c", script], env=environment, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_broker_gets_its_user_and_the_topology(password: str, tmp_path: Path) -> None:
    files = of_kind(render(), "ConfigMap")["placerank-rabbitmq"]["data"]
    folders = {f"/{name}": tmp_path / name for name in ("etc/placerank", "var/lib/rabbitmq", "etc/rabbitmq/conf.d")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for name, text in files.items():
        (folders["/etc/placerank"] / name).write_text(text)
    _run(
        files["prepare.sh"],
        folders,
        "bash",
        RABBITMQ_USERNAME='us"er\\',
        RABBITMQ_PASSWORD=password,
        RABBITMQ_VHOST="placerank",
        MEMORY_LIMIT="1073741824",
        ERLANG_COOKIE="cookie",
    )
    written = json.loads((folders["/var/lib/rabbitmq"] / "definitions.json").read_text())
    (user,) = written["users"]
    salt = base64.b64decode(user["password_hash"])[:4]
    assert user["password_hash"] == password_hash(password, salt)
    wanted = definitions((4, 3), user='us"er\\', password=password, vhost="placerank")
    for one in (written, wanted):
        for known in one["users"]:
            known.pop("password_hash")
            known.pop("limits", None)
    assert written == wanted
    cookie = folders["/var/lib/rabbitmq"] / ".erlang.cookie"
    assert (cookie.read_text(), cookie.stat().st_mode & 0o777) == ("cookie", 0o400)
    config = (folders["/etc/rabbitmq/conf.d"] / "50-placerank.conf").read_text()
    assert "total_memory_available_override_value = 1073741824" in config


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_cache_gets_its_password_in_a_file(password: str, tmp_path: Path) -> None:
    files = of_kind(render(), "ConfigMap")["placerank-redis"]["data"]
    (tmp_path / "redis-server").write_text('#!/bin/sh\ncp "$1" "$1.seen"\nchmod 600 "$1.seen"\n')
    (tmp_path / "redis-server").chmod(0o755)
    (tmp_path / "redis.conf").write_text(files["redis.conf"])
    script = files["start.sh"].replace("exec redis-server", f"exec {tmp_path}/redis-server")
    _run(script, {"/etc/placerank": tmp_path, "/tmp/redis.conf": tmp_path / "out.conf"}, "sh", REDISCLI_AUTH=password)
    seen = (tmp_path / "out.conf.seen").read_text().splitlines()
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    assert seen[-1] == f'requirepass "{escaped}"'
    assert (tmp_path / "out.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("password", BLANK, ids=ascii)
def test_a_blank_password_opens_no_cache(password: str, tmp_path: Path) -> None:
    files = of_kind(render(), "ConfigMap")["placerank-redis"]["data"]
    (tmp_path / "redis.conf").write_text(files["redis.conf"])
    script = files["start.sh"].replace("exec redis-server", "echo started")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _run(script, {"/etc/placerank": tmp_path, "/tmp/redis.conf": tmp_path / "o"}, "sh", REDISCLI_AUTH=password)
    assert "password in the Secret is blank" in failed.value.stderr
    assert not failed.value.stdout


@pytest.mark.parametrize("name", ["RABBITMQ_USERNAME", "RABBITMQ_PASSWORD", "ERLANG_COOKIE"])
@pytest.mark.parametrize("value", BLANK, ids=ascii)
def test_a_blank_secret_opens_no_broker(name: str, value: str, tmp_path: Path) -> None:
    files = of_kind(render(), "ConfigMap")["placerank-rabbitmq"]["data"]
    secrets = {"RABBITMQ_USERNAME": "me", "RABBITMQ_PASSWORD": "secret", "ERLANG_COOKIE": "cookie"} | {name: value}
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _run(files["prepare.sh"], {"/var/lib/rabbitmq": tmp_path}, "bash", RABBITMQ_VHOST="placerank", **secrets)
    assert f"{name} is blank" in failed.value.stderr
    assert list(tmp_path.iterdir()) == []
