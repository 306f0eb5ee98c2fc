"""RabbitMQ: names, messages, the publisher, the outbox, the relay, dead letters, and an in-memory publisher.

Imports db, supervision, telemetry, config, network, errors.
"""
