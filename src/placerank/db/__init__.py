"""PostgreSQL: pools, repositories, every SQL statement by name, and the migrations.

Imports schema, telemetry, domain, errors.
"""
