"""A service in a container. The keeper runs Docker's client, which forwards signals to the container."""

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
    """A container that is not started yet; ``ports`` maps the container's ports to the host's."""
    argv = [docker, "run", "--rm"]
    argv += [part for inner, outer in ports.items() for part in ("-p", f"{LOOPBACK}:{outer}:{inner}")]
    inside = env or {}
    # Only the names, because every user can read arguments. The client takes the values from its own environment.
    argv += [part for key in inside for part in ("-e", key)]
    # The client needs the caller's environment too: DOCKER_HOST, its configuration folder.
    environment = {**os.environ, **inside}
    process = Private(name, [*argv, image, *command], env=environment, stop_signal=end_signal, end_signal=end_signal)
    with closed_on_failure(process):
        if subprocess.run([docker, "image", "inspect", image], capture_output=True, check=False).returncode:
            process.run([docker, "pull", image])  # before the start, which has a time limit
    return process
