"""Fixtures of several modules: a database with answered lists. A module may have others of the same names."""

from __future__ import annotations

from tests.integration.learned import database, learned_from, url

__all__ = ["database", "learned_from", "url"]
