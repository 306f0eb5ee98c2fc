"""RabbitMQ with the project's own definitions, as its chart and its containers import them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from . import management
from .container import container
from .errors import ServiceUnavailable
from .private import LOOPBACK, Private, closed_on_failure, free_port, unprivileged_user
from .running import Running

if TYPE_CHECKING:
    import threading

VARIABLE = "CELERY_BROKER_URL"
PACKAGE = "rabbitmq-server"
USER = VHOST = "placerank"

CONFIGURATION = """\
listeners.tcp.1 = {host}:{port}
management.tcp.ip = {host}
management.tcp.port = {management_port}
load_definitions = {folder}/definitions.json
"""


def find() -> str | None:
    """The inner start script: Debian's script on PATH is a wrapper that works for only two users and their folders."""
    inner = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    places = [inner, shutil.which("rabbitmq-server"), "/opt/rabbitmq/sbin/rabbitmq-server", "/usr/sbin/rabbitmq-server"]
    return next((place for place in places if place and Path(place).is_file() and version(place)), None)


def version(script: str) -> tuple[int, int] | None:
    """Major and minor version of the installation that holds a script, by the name of its main plugin."""
    plugins = Path(script).resolve().parent.parent / "plugins"
    names = [re.match(r"rabbit-(\d+)\.(\d+)", path.name) for path in plugins.glob("rabbit-*")]
    return next(((int(match[1]), int(match[2])) for match in names if match), None)


def start(binary: str, cancelled: threading.Event) -> Running:
    """Starts a private node with the management plugin."""
    port, management_port, password = free_port(), free_port(), secrets.token_hex(16)
    user = unprivileged_user("rabbitmq")
    wanted = management.definitions(version(binary) or (0, 0), USER, password, VHOST)
    # Killed at the end: its data is removed anyway, and an orderly shutdown takes seconds.
    process = Private("rabbitmq", [binary], env=_environment(port), user=user, end_signal=signal.SIGKILL)
    with closed_on_failure(process):
        _write(process.folder, "definitions.json", json.dumps(wanted))
        _write(process.folder, "enabled_plugins", "[rabbitmq_management].\n")
        _write(process.folder, "rabbitmq-env.conf", "")
        _write(process.folder, "rabbitmq.conf", _configuration(process.folder, port, management_port))
    address = _management_url(password, management_port)
    ready = partial(_ready, port, address, [queue["name"] for queue in wanted["queues"]])
    return Running.started(process, ready, cancelled, url=_url(password, port), management_url=address)


def _configuration(folder: Path, port: int, management_port: int) -> str:
    return CONFIGURATION.format(host=LOOPBACK, port=port, management_port=management_port, folder=folder)


def _management_url(password: str, port: int) -> str:
    return f"http://{USER}:{password}@{LOOPBACK}:{port}"


def _url(password: str, port: int) -> str:
    return f"pyamqp://{USER}:{password}@{LOOPBACK}:{port}/{VHOST}"


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(folder / name, owner.st_uid, owner.st_gid)  # RabbitMQ rewrites some of its files


def _environment(port: int) -> dict[str, str]:
    """Variables that separate this node from the machine's own RabbitMQ, including its epmd and cookie."""
    files = {
        "CONF_ENV_FILE": "rabbitmq-env.conf",
        "CONFIG_FILE": "rabbitmq",
        "CONFIG_FILES": "conf.d",
        "ADVANCED_CONFIG_FILE": "advanced.config",
        "ENABLED_PLUGINS_FILE": "enabled_plugins",
        "MNESIA_BASE": "mnesia",
        "LOG_BASE": "logs",
        "PID_FILE": "pid",
        "GENERATED_CONFIG_DIR": "generated",
        "SCHEMA_DIR": "schema",
    }
    return {
        **{f"RABBITMQ_{key}": f"{{folder}}/{name}" for key, name in files.items()},
        "RABBITMQ_NODENAME": f"placerank-{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_LOGS": "-",
        # Without busy-waiting schedulers, which would take CPU time from the processes that are measured.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none"
        " -kernel inet_dist_use_interface {127,0,0,1}",
        # epmd outlives the node that started it. On its own port it can be ended with the node.
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": LOOPBACK,
    }


def _ready(port: int, address: str, queues: list[str]) -> bool:
    return _listens(port) and management.has_queues(address, VHOST, queues)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def start_container(docker: str, cancelled: threading.Event) -> Running:
    """Starts a container and imports the definitions into it: the image's version is known only when it runs."""
    port, management_port, password = free_port(), free_port(), secrets.token_hex(16)
    process = container(
        docker,
        "rabbitmq",
        "rabbitmq:4-management",
        ports={5672: port, 15672: management_port},
        env={"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": password},
    )
    address = _management_url(password, management_port)
    ready = partial(_ready, port, address, [])
    found = Running.started(process, ready, cancelled, url=_url(password, port), management_url=address, owned=False)
    with closed_on_failure(process):
        create_vhost(found.url, address, VHOST)
    return found


def management_of(url: str) -> str | None:
    """The management address of an external broker: RABBITMQ_MANAGEMENT_URL, else port 15672; None if no answer."""
    parts = urlsplit(url)
    login = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
    usual = f"http://{login}@{parts.hostname or LOOPBACK}:15672"
    address = os.environ.get("RABBITMQ_MANAGEMENT_URL") or usual
    return address if management.answers(address) else None


def create_vhost(url: str, address: str | None, name: str) -> str:
    """Makes a virtual host with the project's queues in it; returns the broker's address with it."""
    if address is None:
        raise ServiceUnavailable(
            "The broker's management interface does not answer: set RABBITMQ_MANAGEMENT_URL=http://user:password@host:15672."
        )
    parts = urlsplit(url)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    management.load(address, management.definitions(management.version(address), user, password, name))
    return parts._replace(path="/" + quote(name, safe="")).geturl()
