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
    argv += [part for inner, outer in ports.items() for part in ("-p", f"{LOOPBACK}:{outer}:{inner}")]
    inside = env or {}
    # By name alone, as everybody can read arguments: the client takes the values from its own environment.
    argv += [part for key in inside for part in ("-e", key)]
    # It needs the caller's environment too: DOCKER_HOST, its folder of settings.
    environment = {**os.environ, **inside}
    process = Private(name, [*argv, image, *command], env=environment, stop_signal=end_signal, end_signal=end_signal)
    with closed_on_failure(process):
        if subprocess.run([docker, "image", "inspect", image], capture_output=True, check=False).returncode:
            process.run([docker, "pull", image])  # beforehand: it may take longer than any start
    return process
