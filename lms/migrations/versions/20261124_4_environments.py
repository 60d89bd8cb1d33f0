"""Environments: the requirements that a course, a release and a run go with"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_4_environments"
down_revision = "20261124_3_queue_order"
branch_labels = None
depends_on = None

_TABLES = ("course", "release", "run")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(
            table, sa.Column("environment", sa.String(71), nullable=False, server_default="")
        )


def downgrade() -> None:
    for table in _TABLES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("environment")
