"""Errors of ranking. Their messages are sentences for users."""

from __future__ import annotations


class ModelError(ValueError):
    """A model or catalogue that cannot be used: damaged, of another version, or with values that are not finite."""


class NotEnoughData(ValueError):  # expected in normal use: callers put its message into their reply
    """There are too few shown lists, or too few different travellers, to train on."""
