"""The queue's order: whose turn a run uses, and the one index that answers for it"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_3_queue_order"
down_revision = "20261124_2_integrity"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("offering_id", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE run SET offering_id = (SELECT offered_assignment.offering_id FROM submission"
        " JOIN offered_assignment ON offered_assignment.id = submission.task_id"
        " WHERE submission.id = run.submission_id)"
    )
    op.create_index(
        "ix_run_order",
        "run",
        ["status", "resource", "priority", "offering_id", "queued_at", "id"],
        unique=False,
    )
    op.drop_index("ix_run_status_priority_queued_at", table_name="run")
    op.drop_index("ix_run_status_queued_at", table_name="run")


def downgrade() -> None:
    op.create_index("ix_run_status_queued_at", "run", ["status", "queued_at"], unique=False)
    op.create_index(
        "ix_run_status_priority_queued_at", "run", ["status", "priority", "queued_at"], unique=False
    )
    op.drop_index("ix_run_order", table_name="run")
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_column("offering_id")
