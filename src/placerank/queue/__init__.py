"""From a committed row to a worker: the topology, the message, the publisher and the relay."""
