"""A service in a container, under a keeper as an installed one is: the client passes signals on to it."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from .private import LOOPBACK, Private, closed_on_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def container(
    docker: str,
    name: str,
    image: str,
    *,
    ports: Mapping[int, int],
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    end_signal: int = signal.SIGTERM,
) -> Private:
    """A container that is not started yet; ``ports`` are the host's by the container's."""
    argv = [docker, "run", "--rm"]
    argv += [part for inside, outside in ports.items() for part in ("-p", f"{LOOPBACK}:{outside}:{inside}")]
    argv += [part for key, value in (env or {}).items() for part in ("-e", f"{key}={value}")]
    # The client needs the caller's environment: DOCKER_HOST, its folder of settings.
    process = Private(name, [*argv, image, *command], env=os.environ, stop_signal=end_signal, end_signal=end_signal)
    with closed_on_failure(process):
        if subprocess.run([docker, "image", "inspect", image], capture_output=True, check=False).returncode:
            process.run([docker, "pull", image])  # beforehand: it may take longer than any start
    return process
