"""Sources of services if no address is given and no server is installed: Docker, or Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLICY = Path("/usr/sbin/policy-rc.d")


def docker() -> str | None:
    """The path of Docker's client, if a daemon answers it."""
    client = shutil.which("docker")
    if client is None:
        return None
    try:
        done = subprocess.run([client, "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return client if done.returncode == 0 else None


def can_install() -> bool:
    """Whether Debian's packages can be installed: we are root, and apt-get exists."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> None:
    """Installs packages without letting them start anything."""
    print(f"Installing {', '.join(packages)} …", file=sys.stderr, flush=True)
    with _nothing_starts():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise ServiceUnavailable(f"apt-get {arguments[0]} failed.\n{done.stdout[-2000:]}")


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Forbids packages to start services: Debian calls this script first, and 101 means no. An existing one is kept."""
    try:
        with POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
