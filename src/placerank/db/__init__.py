"""PostgreSQL: pools, repositories, every SQL statement by name, and the migrations.

Imports supervision, telemetry, domain, errors.
"""
