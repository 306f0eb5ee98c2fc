"""The exact best k of a catalogue, on CPU or CUDA.

Imports ranking's model, catalogue and features, domain.
"""
