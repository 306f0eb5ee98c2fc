"""The request's id, next to its trace context."""

from __future__ import annotations

from placerank.db.migrations.plain import run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    run_sql(__file__)


def downgrade() -> None:
    """Not supported: it would lose what was recorded."""
    raise RuntimeError("0003 cannot be undone: restore the database as it was before")
