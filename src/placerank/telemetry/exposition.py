"""Serves a process's metrics to Prometheus."""

from __future__ import annotations

from placerank.errors import ConfigurationError


def serve_metrics(port: int) -> None:
    """Serve this process's metrics in the Prometheus text format on ``port``, from a thread; 0 turns it off."""
    if not port:
        return
    from prometheus_client import start_http_server

    try:
        start_http_server(port)
    except OSError as error:
        raise ConfigurationError(
            f"PLACERANK_TELEMETRY__METRICS_PORT is wrong: cannot listen on port {port}: {error}."
        ) from None
