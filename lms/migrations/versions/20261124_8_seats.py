"""Class seats: what was asked for, what fell back, and how much a course may keep"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_8_seats"
down_revision = "20261124_7_centres"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_promise",
        sa.Column("offering_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seats_at_once", sa.Integer(), nullable=False),
        sa.Column("seat_hours_a_week", sa.Double(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_gpu_promise_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["set_by"], ["person.id"], name=op.f("fk_gpu_promise_set_by_person")
        ),
        sa.PrimaryKeyConstraint("offering_id", name=op.f("pk_gpu_promise")),
    )
    with op.batch_alter_table("reservation") as batch_op:
        batch_op.add_column(sa.Column("asked_seats", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("asked_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE reservation SET asked_seats = seats, asked_until = ends_at")
    with op.batch_alter_table("reservation") as batch_op:
        batch_op.alter_column("asked_seats", existing_type=sa.Integer(), nullable=False)
        batch_op.alter_column(
            "asked_until", existing_type=sa.DateTime(timezone=True), nullable=False
        )


def downgrade() -> None:
    op.drop_table("gpu_promise")
    with op.batch_alter_table("reservation") as batch_op:
        for column in ("cancelled_at", "reviewed_at", "asked_until", "asked_seats"):
            batch_op.drop_column(column)
