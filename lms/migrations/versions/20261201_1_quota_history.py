"""The history of quotas, and requests for more GPU-hours"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261201_1_quota_history"
down_revision = "20261124_8_seats"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_quota_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column(
            "before", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True
        ),
        sa.Column("after", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("why", sa.String(length=1000), nullable=False),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_gpu_quota_change_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_gpu_quota_change_person_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["undoes"],
            ["gpu_quota_change.id"],
            name=op.f("fk_gpu_quota_change_undoes_gpu_quota_change"),
        ),
        sa.ForeignKeyConstraint(["by"], ["person.id"], name=op.f("fk_gpu_quota_change_by_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_quota_change")),
    )
    op.create_index("ix_gpu_quota_change_offering_id_id", "gpu_quota_change", ["offering_id", "id"])
    op.create_table(
        "gpu_hours_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=False),
        sa.Column("hours_a_week", sa.Double(), nullable=False),
        sa.Column("why", sa.String(length=1000), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Integer(), nullable=False),
        sa.Column("granted_hours", sa.Double(), nullable=True),
        sa.Column("answer", sa.String(length=1000), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["offering_id"],
            ["offering.id"],
            name=op.f("fk_gpu_hours_request_offering_id_offering"),
        ),
        sa.ForeignKeyConstraint(
            ["asked_by"], ["person.id"], name=op.f("fk_gpu_hours_request_asked_by_person")
        ),
        sa.ForeignKeyConstraint(
            ["answered_by"], ["person.id"], name=op.f("fk_gpu_hours_request_answered_by_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_hours_request")),
    )
    op.create_index(op.f("ix_gpu_hours_request_offering_id"), "gpu_hours_request", ["offering_id"])
    op.create_index(
        "ix_gpu_hours_request_open",
        "gpu_hours_request",
        ["offering_id"],
        unique=True,
        sqlite_where=sa.text("answered_at IS NULL"),
        postgresql_where=sa.text("answered_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("gpu_hours_request")
    op.drop_table("gpu_quota_change")
