"""Rendered answers and wake-ups, in Redis or in memory. Losing them costs time, but no data.

Imports supervision, telemetry, domain.
"""
