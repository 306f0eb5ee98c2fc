"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The tools are no part of the package that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.services import Services, ServiceUnavailable, start

if TYPE_CHECKING:
    from collections.abc import Iterator


def in_ci() -> bool:
    """Whether a missing service is a failure: on a laptop its tests are skipped."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """PostgreSQL, RabbitMQ and Redis: from the environment, or started for this session."""
    try:
        # Packages are installed as root only: that is a container or a CI machine, not somebody's desk.
        found = start(install=os.geteuid() == 0)
    except ServiceUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with found:
        yield found
