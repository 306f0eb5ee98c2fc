"""Learning: recorded datasets, decisions of the gate, canaries."""

from __future__ import annotations

from placerank.db.migrations.plain import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns that learning needs."""
    run_sql(__file__)


def downgrade() -> None:
    """Not supported: it would lose what was recorded."""
    raise RuntimeError("0002 cannot be undone: restore the database as it was before")
