"""Migrations are plain SQL files that stand beside their Alembic revision."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_sql(revision_file: str) -> None:
    """Run the ``.sql`` file that has the revision file's name."""
    statements = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
