"""The bundled PostgreSQL of the embedded mode: its account, folder, process and server.

Imports errors.
"""
