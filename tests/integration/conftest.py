"""Shared fixtures: a database with answered lists. A module can override them."""

from __future__ import annotations

from tests.integration.learned import database, learned_from, url

__all__ = ["database", "learned_from", "url"]
