"""What can go wrong in ranking, as sentences for people."""

from __future__ import annotations


class ModelError(ValueError):
    """A model or catalogue that cannot be used: damaged, of another version, or with values that are not finite."""


class NotEnoughData(ValueError):  # says what is the matter; callers turn it into a reply, not a crash
    """Too few shown lists, or too few different travellers, to learn anything from."""
