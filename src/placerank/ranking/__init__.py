"""Features, the model, exact scoring, metrics and training, without I/O.

Imports domain.
"""
