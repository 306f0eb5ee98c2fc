"""A service that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .private import closed_on_failure

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from .private import Private


@dataclass(frozen=True)
class Running:
    """A service's addresses and, if it was started here, its process."""

    url: str
    management_url: str | None = None
    process: Private | None = None
    ready: Callable[[], bool] = lambda: True
    #: False for containers: their client starts and ends them, and we cannot stop or pause their processes.
    owned: bool = False

    @classmethod
    def started(
        cls,
        process: Private,
        ready: Callable[[], bool],
        cancelled: threading.Event,
        *,
        url: str,
        management_url: str | None = None,
        owned: bool = True,
    ) -> Running:
        """Starts the process and waits until it is ready; a service that does not start is ended at once."""
        with closed_on_failure(process):
            process.start(ready, cancelled)
        return cls(url, management_url, process, ready, owned)
