"""The bundled PostgreSQL of the embedded mode: its account, folder, process and server.

Imports supervision, telemetry, errors.
"""
