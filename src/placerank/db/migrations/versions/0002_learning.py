"""Learning: recorded datasets, decisions of the gate, canaries."""

from __future__ import annotations

from placerank.db.migrations.plain import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what learning records."""
    run_sql(__file__)


def downgrade() -> None:
    """What was recorded would be lost."""
    raise RuntimeError("0002 cannot be undone: restore the database as it was before")
