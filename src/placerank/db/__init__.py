"""PostgreSQL: pools, repositories, every SQL statement by name, and the migrations.

Imports telemetry, domain, errors.
"""
