"""Parses requests: bodies, parameters, preferences, idempotency keys.

Imports schema, telemetry, domain, errors.
"""
