"""The HTTP contract: the app, its routes, what they parse and how they answer, and the uvicorn server.

Imports runtime, queue, db, cache, schema, telemetry, network, domain, errors.
"""
