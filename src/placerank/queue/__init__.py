"""RabbitMQ: names, messages, the publisher, the outbox, the relay, dead letters, and a twin in memory.

Imports db, config, network, telemetry, errors.
"""
