"""Metrics, log lines and traces of a process.

Imports errors.
"""

from __future__ import annotations

from placerank.telemetry.exposition import MetricsServer
from placerank.telemetry.logs import set_up_logging

__all__ = ["MetricsServer", "set_up_logging"]
