"""placerank ranks every place in a catalogue for a traveller, behind a durable queue."""

__version__ = "0.1.0"
