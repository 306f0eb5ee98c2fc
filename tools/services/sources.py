"""Where each service comes from: an address, an installed server, a container, or a package to install first."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from . import install as installing
from . import postgresql, rabbitmq, redis
from .errors import ServiceUnavailable
from .running import Running

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    Starter = Callable[[threading.Event], Running]


@dataclass(frozen=True)
class Kind:
    """How to find or start one service."""

    variable: str
    package: str
    find: Callable[[], str | None]
    start: Callable[[str, threading.Event], Running]
    start_container: Callable[[str, threading.Event], Running]
    management_of: Callable[[str], str | None] = lambda _: None


KINDS = {
    "postgresql": Kind(
        postgresql.VARIABLE, postgresql.PACKAGE, postgresql.find, postgresql.start, postgresql.start_container
    ),
    "rabbitmq": Kind(
        rabbitmq.VARIABLE,
        rabbitmq.PACKAGE,
        rabbitmq.find,
        rabbitmq.start,
        rabbitmq.start_container,
        rabbitmq.management_of,
    ),
    "redis": Kind(redis.VARIABLE, redis.PACKAGE, redis.find, redis.start, redis.start_container),
}


def starters(names: Sequence[str], *, install: bool) -> dict[str, Starter]:
    """A starter for each service, or :class:`ServiceUnavailable` with what to do about those that are missing."""
    found = _at_hand(names)
    missing = [name for name in names if name not in found]
    if missing and (client := installing.docker()):
        return found | {name: partial(KINDS[name].start_container, client) for name in missing}
    if missing and install and installing.can_install():
        installing.install([KINDS[name].package for name in missing])
        found |= _at_hand(missing)
        missing = [name for name in names if name not in found]
    if missing:
        raise ServiceUnavailable(_advice(missing))
    return found


def _at_hand(names: Sequence[str]) -> dict[str, Starter]:
    return {name: starter for name in names if (starter := _address(KINDS[name]) or _server(KINDS[name]))}


def _address(kind: Kind) -> Starter | None:
    url = os.environ.get(kind.variable)
    return (lambda _: Running(url, kind.management_of(url))) if url else None


def _server(kind: Kind) -> Starter | None:
    # Linux only: on other systems a service would keep running after its caller was killed.
    binary = kind.find() if sys.platform == "linux" else None
    return partial(kind.start, binary) if binary else None


def _advice(missing: Sequence[str]) -> str:
    variables = ", ".join(KINDS[name].variable for name in missing)
    packages = " ".join(KINDS[name].package for name in missing)
    return (
        f"No {', '.join(missing)}: no address in {variables}, no server installed and no Docker daemon. "
        f"Set {variables}, start Docker, or install the servers (on Debian, as root: apt-get install {packages})."
    )
