"""The commands of operators: migrations, broker, dead letters, status, health, pruning, settings.

Imports overview, runtime, queue, db, config, telemetry, domain, errors.
"""
