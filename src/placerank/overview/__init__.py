"""The whole system in one look: what waits, what is reached, what is wrong.

Imports queue, db, cache, telemetry, domain, errors.
"""
