"""Operations: keys, audit, idempotency, webhooks, uploads; archived models, protected aliases, wishes of workers.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# table, constraint, the rule before, the rule from here on; sets of allowed words as tuples
Rule = str | tuple[str, ...]
RULES: tuple[tuple[str, str, Rule | None, Rule], ...] = (
    (
        "models",
        "state",
        ("received", "ready", "suspect", "failed"),
        ("received", "ready", "suspect", "archived", "failed"),
    ),
    ("models", "last_rung", None, "last_rung in (0, 1)"),
    ("names", "protected", None, "is_alias or not protected"),
    ("comparisons", "state", ("measuring", "paused"), ("measuring", "draining", "paused")),
    ("analyses", "kind", ("clusters", "ensemble"), ("clusters", "ensemble", "map", "importance")),
    (
        "jobs",
        "kind",
        ("prepare", "evaluate", "attack", "transfers", "analyse"),
        ("prepare", "evaluate", "attack", "transfers", "analyse", "notify"),
    ),
    (
        "jobs",
        "comparison",
        "(kind <> 'prepare') = (comparison_id is not null)",
        "(kind not in ('prepare', 'notify')) = (comparison_id is not null)",
    ),
)


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column(
            "scope",
            sa.Enum("read", "write", "admin", name="scope", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_api_keys_name")),
        sa.CheckConstraint("team ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_api_keys_team")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_api_keys_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status is null) = (body is null)", name=op.f("ck_idempotency_keys_answer")),
        sa.CheckConstraint("octet_length(key) between 1 and 255", name=op.f("ck_idempotency_keys_key")),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cardinality(events) > 0", name=op.f("ck_webhooks_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting", "delivered", "failed", name="state", native_enum=False, create_constraint=True, length=16
            ),
            server_default="waiting",
            nullable=False,
        ),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_waiting", "deliveries", ["id"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_index(op.f("ix_deliveries_webhook_id"), "deliveries", ["webhook_id"], unique=False)
    op.create_table(
        "milestones",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_milestones_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_milestones_model_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("comparison_id", "model_id", name=op.f("pk_milestones")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_uploads_bytes")),
        sa.ForeignKeyConstraint(["sha256"], ["artifacts.sha256"], name=op.f("fk_uploads_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.add_column("attacks", sa.Column("seconds", sa.Double(), nullable=True))
    op.add_column("evaluations", sa.Column("seconds", sa.Double(), nullable=True))
    op.add_column("models", sa.Column("card", sa.Text(), server_default="", nullable=False))
    op.add_column("models", sa.Column("last_rung", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("models", sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
    op.add_column("names", sa.Column("protected", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("transfers", sa.Column("seconds", sa.Double(), nullable=True))
    op.create_index("ix_transfers_source", "transfers", ["comparison_id", "source_id", "rung"], unique=False)
    op.add_column("workers", sa.Column("precision", sa.Text(), nullable=True))
    op.add_column(
        "workers",
        sa.Column(
            "wish",
            sa.Enum("run", "pause", "drain", name="wish", native_enum=False, create_constraint=True, length=16),
            server_default="run",
            nullable=False,
        ),
    )
    op.add_column("workers", sa.Column("device_bytes", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("device_bytes_used", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("left_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workers", sa.Column("leases_lost", sa.Integer(), server_default="0", nullable=False))
    for table, name, before, after in RULES:
        if before is not None:
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, _condition(name, after))


def downgrade() -> None:
    """Take this revision back. What only the later schema can say has to be gone: archived models, drains, analyses."""
    for table, name, before, _ in reversed(RULES):
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        if before is not None:
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, _condition(name, before))
    op.drop_column("workers", "leases_lost")
    op.drop_column("workers", "left_at")
    op.drop_column("workers", "device_bytes_used")
    op.drop_column("workers", "device_bytes")
    op.drop_column("workers", "wish")
    op.drop_column("workers", "precision")
    op.drop_index("ix_transfers_source", table_name="transfers")
    op.drop_column("transfers", "seconds")
    op.drop_column("names", "protected")
    op.drop_column("models", "revision")
    op.drop_column("models", "last_rung")
    op.drop_column("models", "card")
    op.drop_column("evaluations", "seconds")
    op.drop_column("attacks", "seconds")
    op.drop_table("uploads")
    op.drop_table("milestones")
    op.drop_index(op.f("ix_deliveries_webhook_id"), table_name="deliveries")
    op.drop_index("ix_deliveries_waiting", table_name="deliveries", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_table("deliveries")
    op.drop_table("webhooks")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("audit")
    op.drop_table("api_keys")


def _condition(column: str, rule: Rule) -> str:
    return rule if isinstance(rule, str) else f"{column} in ({', '.join(repr(word) for word in rule)})"
