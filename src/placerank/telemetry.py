"""Logging and metrics, set up once by each process."""

from __future__ import annotations

import logging

from placerank.errors import ConfigurationError

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
#: Libraries that tell of every connection attempt; what matters of it our own modules say.
_CHATTY = ("alembic", "aiormq", "aio_pika", "psycopg.pool", "celery", "kombu", "amqp", "uvicorn.error")


def set_up_logging(level: str) -> None:
    """Log to standard error, from ``level`` up; libraries from WARNING up."""
    logging.basicConfig(level=level, format=_FORMAT, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    # Their warnings repeat, at every attempt, what the publisher says once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # It misses a host name in memory://.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)


def serve_metrics(port: int) -> None:
    """Serve this process's metrics in the Prometheus text format on ``port``, on a thread of their own; 0 is off."""
    if not port:
        return
    from prometheus_client import start_http_server

    try:
        start_http_server(port)
    except OSError as error:
        raise ConfigurationError(
            f"PLACERANK_TELEMETRY__METRICS_PORT is wrong: port {port} is taken: {error}."
        ) from None
