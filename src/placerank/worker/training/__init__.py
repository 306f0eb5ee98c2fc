"""One training, from its lease to the registered version.

Imports the worker's deliveries, rollout, db, ranking, telemetry, domain.
"""
