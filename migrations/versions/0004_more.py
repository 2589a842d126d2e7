"""What is said of models, searchable by its words.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision; the words of what is there are taken down at once."""
    op.add_column(
        "models",
        sa.Column(
            "words",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('simple'::regconfig, description || ' ' || card)", persisted=True),
            nullable=True,
        ),
    )
    op.create_index(op.f("ix_models_words"), "models", ["words"], postgresql_using="gin")


def downgrade() -> None:
    """Take this revision back; nothing is lost."""
    op.drop_index(op.f("ix_models_words"), table_name="models", postgresql_using="gin")
    op.drop_column("models", "words")
