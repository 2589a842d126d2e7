"""Jobs that say who asked, which attempts raised, and what was at hand; comparisons that say when results went.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision; `sources` is null at first: every target then looks at all sources once."""
    op.add_column("jobs", sa.Column("sources", sa.ARRAY(sa.Integer()), nullable=True))
    op.add_column("jobs", sa.Column("errors", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("at_source", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("at_rung", sa.SmallInteger(), nullable=True))
    op.add_column("comparisons", sa.Column("forgot_version", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take this revision back; nothing is lost, since attempts are then counted anew."""
    op.drop_column("comparisons", "forgot_version")
    op.drop_column("jobs", "at_rung")
    op.drop_column("jobs", "at_source")
    op.drop_column("jobs", "errors")
    op.drop_column("jobs", "sources")
