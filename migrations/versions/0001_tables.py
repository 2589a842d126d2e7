"""The tables of the first release.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "writing", "stored", "condemned", name="state", native_enum=False, create_constraint=True, length=16
            ),
            nullable=False,
        ),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_artifacts_bytes")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_artifacts_sha256")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "protocols",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("attack", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("engine_revision", sa.SmallInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_protocols_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_protocols")),
        sa.UniqueConstraint("digest", name=op.f("uq_protocols_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_protocols_name")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("classes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_tasks_name")),
        sa.CheckConstraint("cardinality(classes) >= 2", name=op.f("ck_tasks_classes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("digest", name=op.f("uq_tasks_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_tasks_name")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("lanes", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("torch_version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "image_sets",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("n_attack", sa.Integer(), nullable=False),
        sa.Column("n_select", sa.Integer(), nullable=False),
        sa.Column("n_report", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.Integer(), server_default="500", nullable=False),
        sa.Column("order_seed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False),
        sa.Column("channels", sa.SmallInteger(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_image_sets_name")),
        sa.CheckConstraint("channels in (1, 3)", name=op.f("ck_image_sets_channels")),
        sa.CheckConstraint("n_attack > 0 and n_select >= 0 and n_report >= 0", name=op.f("ck_image_sets_parts")),
        sa.CheckConstraint("prefix > 0", name=op.f("ck_image_sets_prefix")),
        sa.CheckConstraint("side > 0", name=op.f("ck_image_sets_side")),
        sa.ForeignKeyConstraint(["content"], ["artifacts.sha256"], name=op.f("fk_image_sets_content")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_image_sets_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_sets")),
        sa.UniqueConstraint("digest", name=op.f("uq_image_sets_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_image_sets_name")),
    )
    op.create_table(
        "networks",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("model_args", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("input_side", sa.SmallInteger(), nullable=False),
        sa.Column("channels", sa.SmallInteger(), nullable=False),
        sa.Column("mean", sa.ARRAY(sa.Float()), nullable=False),
        sa.Column("std", sa.ARRAY(sa.Float()), nullable=False),
        sa.Column("class_map", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("components", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("base", sa.Text(), nullable=True),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "cardinality(mean) = channels and cardinality(std) = channels", name=op.f("ck_networks_mean_std")
        ),
        sa.CheckConstraint("channels in (1, 3)", name=op.f("ck_networks_channels")),
        sa.CheckConstraint("input_side > 0", name=op.f("ck_networks_input_side")),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_networks_digest")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_networks_task_id")),
        sa.ForeignKeyConstraint(["weights"], ["artifacts.sha256"], name=op.f("fk_networks_weights")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_networks")),
        sa.UniqueConstraint("digest", name=op.f("uq_networks_digest")),
    )
    op.create_index(op.f("ix_networks_task_id"), "networks", ["task_id"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("image_set_id", sa.Integer(), nullable=False),
        sa.Column("protocol_id", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("measuring", "paused", name="state", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["image_set_id"], ["image_sets.id"], name=op.f("fk_comparisons_image_set_id")),
        sa.ForeignKeyConstraint(["protocol_id"], ["protocols.id"], name=op.f("fk_comparisons_protocol_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("image_set_id", "protocol_id", name=op.f("uq_comparisons_image_set_id_protocol_id")),
    )
    op.create_index(
        "uq_comparisons_one_default", "comparisons", ["is_default"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_table(
        "evaluations",
        sa.Column("network_id", sa.Integer(), nullable=False),
        sa.Column("image_set_id", sa.Integer(), nullable=False),
        sa.Column(
            "part",
            sa.Enum("attack", "select", "report", name="part", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("rung", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("correct", sa.LargeBinary(), nullable=False),
        sa.Column("n_correct", sa.Integer(), nullable=False),
        sa.Column("logits", sa.LargeBinary(), nullable=False),
        sa.Column("numeric_path", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("rung = 0 or (rung = 1 and part = 'attack')", name=op.f("ck_evaluations_rung")),
        sa.CheckConstraint("n_correct between 0 and n", name=op.f("ck_evaluations_n_correct")),
        sa.CheckConstraint("octet_length(correct) = (n + 7) / 8", name=op.f("ck_evaluations_correct")),
        sa.ForeignKeyConstraint(["image_set_id"], ["image_sets.id"], name=op.f("fk_evaluations_image_set_id")),
        sa.ForeignKeyConstraint(["logits"], ["artifacts.sha256"], name=op.f("fk_evaluations_logits")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_evaluations_network_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_evaluations_worker_id")),
        sa.PrimaryKeyConstraint("network_id", "image_set_id", "part", "rung", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("network_id", sa.Integer(), nullable=True),
        sa.Column(
            "source",
            sa.Enum("upload", "pretrained", name="source", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("declaration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary(), nullable=True),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("supersedes", sa.Integer(), nullable=True),
        sa.Column("expected_accuracy", sa.Double(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "received",
                "ready",
                "suspect",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            server_default="received",
            nullable=False,
        ),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("concern", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("license", sa.Text(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("deleted_name", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(source = 'upload') = (checkpoint is not null)", name=op.f("ck_models_checkpoint")),
        sa.CheckConstraint("(state = 'failed') = (failure is not null)", name=op.f("ck_models_failure")),
        sa.CheckConstraint("(state = 'suspect') = (concern is not null)", name=op.f("ck_models_concern")),
        sa.CheckConstraint("state in ('received', 'failed') or network_id is not null", name=op.f("ck_models_network")),
        sa.CheckConstraint("(deleted_at is null) = (deleted_name is null)", name=op.f("ck_models_deleted")),
        sa.CheckConstraint("expected_accuracy between 0 and 1", name=op.f("ck_models_expected_accuracy")),
        sa.ForeignKeyConstraint(["checkpoint"], ["artifacts.sha256"], name=op.f("fk_models_checkpoint")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_models_network_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["models.id"], name=op.f("fk_models_supersedes"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_models_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_network_id"), "models", ["network_id"], unique=False)
    op.create_index(op.f("ix_models_task_id"), "models", ["task_id"], unique=False)
    op.create_table(
        "analyses",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("clusters", "ensemble", name="kind", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("parameters_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("wanted_version", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(version is null) = (result is null and failure is null)", name=op.f("ck_analyses_version")
        ),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_analyses_comparison_id")),
        sa.PrimaryKeyConstraint("comparison_id", "kind", "parameters_sha256", name=op.f("pk_analyses")),
    )
    op.create_table(
        "attacks",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("network_id", sa.Integer(), nullable=False),
        sa.Column("rung", sa.SmallInteger(), nullable=False),
        sa.Column("attacked", sa.Integer(), nullable=False),
        sa.Column("fooled", sa.LargeBinary(), nullable=False),
        sa.Column("n_fooled", sa.Integer(), nullable=False),
        sa.Column("noise_fooled", sa.LargeBinary(), nullable=False),
        sa.Column("n_noise_fooled", sa.Integer(), nullable=False),
        sa.Column("images", sa.LargeBinary(), nullable=True),
        sa.Column("images_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("numeric_path", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("images is null or images = images_sha256", name=op.f("ck_attacks_images")),
        sa.CheckConstraint("n_fooled between 0 and attacked", name=op.f("ck_attacks_n_fooled")),
        sa.CheckConstraint("n_noise_fooled between 0 and attacked", name=op.f("ck_attacks_n_noise_fooled")),
        sa.CheckConstraint("rung in (0, 1)", name=op.f("ck_attacks_rung")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_attacks_comparison_id")),
        sa.ForeignKeyConstraint(["images"], ["artifacts.sha256"], name=op.f("fk_attacks_images")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_attacks_network_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_attacks_worker_id")),
        sa.PrimaryKeyConstraint("comparison_id", "network_id", "rung", name=op.f("pk_attacks")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "prepare",
                "evaluate",
                "attack",
                "transfers",
                "analyse",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column(
            "lane",
            sa.Enum("compute", "light", name="lane", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("model_id", sa.Integer(), nullable=True),
        sa.Column("network_id", sa.Integer(), nullable=True),
        sa.Column("comparison_id", sa.Integer(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "idle",
                "queued",
                "running",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("wanted", sa.Integer(), server_default="1", nullable=False),
        sa.Column("taken", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Integer(), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(kind <> 'prepare') = (comparison_id is not null)", name=op.f("ck_jobs_comparison")),
        sa.CheckConstraint("(kind = 'prepare') = (model_id is not null)", name=op.f("ck_jobs_model")),
        sa.CheckConstraint(
            "(kind in ('evaluate', 'attack', 'transfers')) = (network_id is not null)", name=op.f("ck_jobs_network")
        ),
        sa.CheckConstraint("state <> 'failed' or failure is not null", name=op.f("ck_jobs_failure")),
        sa.CheckConstraint("(state = 'running') = (lease_until is not null)", name=op.f("ck_jobs_lease")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_jobs_comparison_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_jobs_network_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_jobs_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint(
            "kind",
            "model_id",
            "network_id",
            "comparison_id",
            name="uq_jobs_subject",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_jobs_leased", "jobs", ["lease_until"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index(
        "ix_jobs_next", "jobs", ["lane", "priority", "id"], unique=False, postgresql_where=sa.text("state = 'queued'")
    )
    op.create_table(
        "names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("is_alias", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'", name=op.f("ck_names_name")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_names_model_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_names")),
    )
    op.create_index("uq_names_own_name", "names", ["model_id"], unique=True, postgresql_where=sa.text("not is_alias"))
    op.create_table(
        "pairs",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("a_id", sa.Integer(), nullable=False),
        sa.Column("b_id", sa.Integer(), nullable=False),
        sa.Column("rungs", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("fooled_ab", sa.Integer(), nullable=True),
        sa.Column("fooled_ba", sa.Integer(), nullable=True),
        sa.Column("fooled_both", sa.Integer(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(fooled_both is null) = (fooled_ab is null or fooled_ba is null)", name=op.f("ck_pairs_fooled_both")
        ),
        sa.CheckConstraint("a_id < b_id", name=op.f("ck_pairs_order")),
        sa.CheckConstraint("fooled_ab is not null or fooled_ba is not null", name=op.f("ck_pairs_measured")),
        sa.CheckConstraint("greatest(fooled_ab, fooled_ba) <= n", name=op.f("ck_pairs_n")),
        sa.CheckConstraint("rungs in (1, 2)", name=op.f("ck_pairs_rungs")),
        sa.ForeignKeyConstraint(["a_id"], ["networks.id"], name=op.f("fk_pairs_a_id")),
        sa.ForeignKeyConstraint(["b_id"], ["networks.id"], name=op.f("fk_pairs_b_id")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_pairs_comparison_id")),
        sa.PrimaryKeyConstraint("comparison_id", "a_id", "b_id", name=op.f("pk_pairs")),
    )
    op.create_index("ix_pairs_since", "pairs", ["comparison_id", "version"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("rung", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_refusals_comparison_id")),
        sa.ForeignKeyConstraint(["source_id"], ["networks.id"], name=op.f("fk_refusals_source_id")),
        sa.ForeignKeyConstraint(["target_id"], ["networks.id"], name=op.f("fk_refusals_target_id")),
        sa.PrimaryKeyConstraint("comparison_id", "target_id", "source_id", "rung", name=op.f("pk_refusals")),
    )
    op.create_table(
        "transfers",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("rung", sa.SmallInteger(), nullable=False),
        sa.Column("common", sa.Integer(), nullable=False),
        sa.Column("fooled", sa.LargeBinary(), nullable=False),
        sa.Column("n_fooled", sa.Integer(), nullable=False),
        sa.Column("floor_fooled", sa.LargeBinary(), nullable=True),
        sa.Column("ceiling_fooled", sa.LargeBinary(), nullable=True),
        sa.Column("numeric_path", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(floor_fooled is null) = (ceiling_fooled is null)", name=op.f("ck_transfers_controls")),
        sa.CheckConstraint("n_fooled between 0 and common", name=op.f("ck_transfers_n_fooled")),
        sa.CheckConstraint("source_id <> target_id", name=op.f("ck_transfers_not_itself")),
        sa.ForeignKeyConstraint(
            ["comparison_id", "source_id", "rung"],
            ["attacks.comparison_id", "attacks.network_id", "attacks.rung"],
            name=op.f("fk_transfers_comparison_id_source_id_rung"),
        ),
        sa.ForeignKeyConstraint(["target_id"], ["networks.id"], name=op.f("fk_transfers_target_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_transfers_worker_id")),
        sa.PrimaryKeyConstraint("comparison_id", "target_id", "source_id", "rung", name=op.f("pk_transfers")),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("transfers")
    op.drop_table("refusals")
    op.drop_index("ix_pairs_since", table_name="pairs")
    op.drop_table("pairs")
    op.drop_index("uq_names_own_name", table_name="names", postgresql_where=sa.text("not is_alias"))
    op.drop_table("names")
    op.drop_index("ix_jobs_next", table_name="jobs", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index("ix_jobs_leased", table_name="jobs", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("jobs")
    op.drop_table("attacks")
    op.drop_table("analyses")
    op.drop_index(op.f("ix_models_task_id"), table_name="models")
    op.drop_index(op.f("ix_models_network_id"), table_name="models")
    op.drop_table("models")
    op.drop_table("evaluations")
    op.drop_index("uq_comparisons_one_default", table_name="comparisons", postgresql_where=sa.text("is_default"))
    op.drop_table("comparisons")
    op.drop_index(op.f("ix_networks_task_id"), table_name="networks")
    op.drop_table("networks")
    op.drop_table("image_sets")
    op.drop_table("workers")
    op.drop_table("tasks")
    op.drop_table("protocols")
    op.drop_table("artifacts")
