"""The worker processes: Celery tasks, inference in micro-batches, and training.

Imports runtime, rollout, queue, db, cache, ranking, supervision, telemetry, domain, errors.
"""
