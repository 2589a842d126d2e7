"""What asked a target since it had no pending cell, so that a newcomer costs each target one source.

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
    """Bring the schema to this revision; null: every target looks at all sources the first time."""
    op.add_column("jobs", sa.Column("sources", sa.ARRAY(sa.Integer()), nullable=True))


def downgrade() -> None:
    """Take this revision back; nothing is lost, since targets then look at all sources."""
    op.drop_column("jobs", "sources")
