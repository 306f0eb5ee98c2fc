"""The first schema."""

from __future__ import annotations

from placerank.db.migrations.plain import run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    run_sql(__file__)


def downgrade() -> None:
    """Not supported: there is nothing before the first schema."""
    raise RuntimeError("0001 is the first schema: drop the database instead")
