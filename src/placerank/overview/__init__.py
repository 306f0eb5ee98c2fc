"""An overview of the whole system: queues, reachable services, problems.

Imports queue, db, cache, ranking, telemetry, domain, errors.
"""
