"""Runs batches of inferences, and keeps the models and the catalogue that a worker serves.

Imports the worker's deliveries and first model, db, cache, ranking, telemetry, domain.
"""
