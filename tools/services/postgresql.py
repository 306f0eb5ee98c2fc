"""PostgreSQL, as durable as in production, because benchmarks run on it."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .container import container
from .private import LOOPBACK, Private, closed_on_failure, free_port, unprivileged_user
from .running import Running

if TYPE_CHECKING:
    import threading

VARIABLE = "DATABASE_URL"
PACKAGE = "postgresql"
USER = DATABASE = "placerank"
MAX_CONNECTIONS = 200


def find() -> str | None:
    """The newest server with initdb in the same folder; distributions keep both out of PATH."""
    places = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    places += sorted(packaged, key=_version, reverse=True)
    return next((str(place / "postgres") for place in places if _complete(place)), None)


def _version(place: Path) -> int:
    return int((re.findall(r"\d+", str(place)) or ["0"])[0])


def _complete(place: Path) -> bool:
    return all((place / name).is_file() for name in ("postgres", "initdb"))


def start(binary: str, cancelled: threading.Event) -> Running:
    """Starts a private server with a database of the project's name."""
    port, password = free_port(), secrets.token_hex(16)
    settings = {"listen_addresses": LOOPBACK, "port": port, "max_connections": MAX_CONNECTIONS}
    options = [f"-c{key}={value}" for key, value in settings.items()]
    process = Private(
        "postgresql",
        [binary, "-D", "{folder}/data", *options, "-cunix_socket_directories="],
        user=unprivileged_user("postgres"),
        stop_signal=signal.SIGINT,  # ends sessions, writes a checkpoint
        end_signal=signal.SIGQUIT,  # no checkpoint; releases shared memory, which SIGKILL does not
    )
    with closed_on_failure(process):
        _init(process, str(Path(binary).with_name("initdb")), password)
    return _started(process, f"postgresql://{USER}:{password}@{LOOPBACK}:{port}", cancelled, owned=True)


def _init(process: Private, initdb: str, password: str) -> None:
    secret = process.folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)  # the service's user must read it; only that user and root can enter its folder
    options = [
        "--username",
        USER,
        "--auth=scram-sha-256",
        "--pwfile",
        str(secret),
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    # --no-sync concerns only the files of initdb; the server itself syncs.
    process.run([initdb, "--no-sync", *options, "--pgdata", str(process.folder / "data")])
    secret.unlink()


def start_container(docker: str, cancelled: threading.Event) -> Running:
    """Starts a container."""
    port, password = free_port(), secrets.token_hex(16)
    process = container(
        docker,
        "postgresql",
        "postgres:17",
        ports={5432: port},
        env={"POSTGRES_USER": USER, "POSTGRES_PASSWORD": password},
        command=["-c", f"max_connections={MAX_CONNECTIONS}"],
        end_signal=signal.SIGINT,  # SIGTERM would wait for open connections
    )
    return _started(process, f"postgresql://{USER}:{password}@{LOOPBACK}:{port}", cancelled, owned=False)


def _started(process: Private, server: str, cancelled: threading.Event, *, owned: bool) -> Running:
    ready = partial(_has_database, f"{server}/postgres")
    return Running.started(process, ready, cancelled, url=f"{server}/{DATABASE}", owned=owned)


def _has_database(url: str) -> bool:
    """Whether the server accepts statements; creates the database if it does not exist."""
    import psycopg  # here: finding services needs the standard library only

    with suppress(psycopg.OperationalError):
        with suppress(psycopg.errors.DuplicateDatabase):
            create_database(url, DATABASE)
        return True
    return False


def create_database(url: str, name: str) -> str:
    """Creates a database on the server of ``url``; returns the address of the database."""
    import psycopg
    from psycopg import sql

    parts = urlsplit(url)
    plain = parts._replace(scheme="postgresql")  # the address may name a driver: postgresql+psycopg
    with psycopg.connect(plain.geturl(), autocommit=True, connect_timeout=5) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return parts._replace(path=f"/{name}").geturl()
