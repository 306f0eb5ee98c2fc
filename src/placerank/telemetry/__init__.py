"""Metrics, log lines and traces of a process.

Imports errors.
"""

from __future__ import annotations

from placerank.telemetry.exposition import serve_metrics
from placerank.telemetry.logs import set_up_logging

__all__ = ["serve_metrics", "set_up_logging"]
