"""PostgreSQL: pools, repositories, every SQL statement by name, and the migrations.

Imports supervision, schema, telemetry, domain, errors.
"""
