"""The HTTP contract: the app, its routes, what they parse and how they answer, and the uvicorn server.

Imports runtime, queue, db, cache, supervision, schema, telemetry, network, domain, errors.
"""
