"""An index of the leases that the broker may run, which the keeper asks for often"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_6_lease_work"
down_revision = "20261124_5_compute"
branch_labels = None
depends_on = None

_WHERE = sa.text("granted_at IS NOT NULL AND revoked_at IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_lease_unrevoked", "lease", ["id"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )


def downgrade() -> None:
    op.drop_index("ix_lease_unrevoked", table_name="lease")
