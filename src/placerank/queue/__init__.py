"""RabbitMQ: names, messages, the publisher, the outbox, the relay, dead letters, and an in-memory publisher.

Imports db, config, network, telemetry, errors.
"""
