"""The layers before the routes: keys, limits, metrics, request ids, and the fast path to /inference.

Imports replies, telemetry, errors.
"""
