"""Serves a process's metrics to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from placerank.errors import ConfigurationError

if TYPE_CHECKING:
    from threading import Thread


class MetricsServer:
    """Serves this process's metrics in the Prometheus text format, on the library's own thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._serving: tuple[Any, Thread] | None = None

    def open(self) -> None:
        """Start serving; raises ``ConfigurationError`` if the port cannot be used."""
        from prometheus_client import start_http_server

        try:
            self._serving = start_http_server(self._port)
        except OSError as error:
            raise ConfigurationError(
                f"PLACERANK_TELEMETRY__METRICS_PORT is wrong: cannot listen on port {self._port}: {error}."
            ) from None

    def run(self) -> None:
        """Serve until ``close``, or until the library's thread ends for another reason."""
        if self._serving is None:
            self.open()
        assert self._serving is not None
        server, thread = self._serving
        thread.join()
        self._serving = None
        server.server_close()

    def close(self) -> None:
        """Stop serving."""
        if self._serving is not None:
            self._serving[0].shutdown()
