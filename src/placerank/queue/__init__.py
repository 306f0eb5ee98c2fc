"""RabbitMQ: names, messages, the publisher, the outbox, the relay, dead letters, and a twin in memory.

Imports db, supervision, telemetry, config, network, errors.
"""
