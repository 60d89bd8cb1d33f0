"""GPUs: devices, leases, reservations, quotas and the ledger of use"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261124_5_compute"
down_revision = "20261124_4_environments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_device",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("slices", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_device")),
    )
    op.create_table(
        "gpu_inventory",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "reason", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_inventory")),
    )
    op.create_table(
        "gpu_quota",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("hours_a_week", sa.Double(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_gpu_quota_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_gpu_quota_person_id_person")
        ),
        sa.ForeignKeyConstraint(["set_by"], ["person.id"], name=op.f("fk_gpu_quota_set_by_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_quota")),
        sa.UniqueConstraint(
            "offering_id", "person_id", name=op.f("uq_gpu_quota_offering_id_person_id")
        ),
    )
    op.create_table(
        "reservation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=True),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("need", sa.String(length=8), nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["made_by"], ["person.id"], name=op.f("fk_reservation_made_by_person")
        ),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_reservation_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_reservation_person_id_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservation")),
    )
    with op.batch_alter_table("reservation", schema=None) as batch_op:
        batch_op.create_index("ix_reservation_ends_at", ["ends_at"], unique=False)

    op.create_table(
        "lease",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("need", sa.String(length=8), nullable=False),
        sa.Column("kernel_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("cap_seconds", sa.Integer(), nullable=False),
        sa.Column("idle_seconds_allowed", sa.Integer(), nullable=False),
        sa.Column("hours_a_week", sa.Double(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queue_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kernel_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("busy_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idle_seconds", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", sa.String(length=12), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column(
            "devices", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("reservation_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_lease_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_lease_person_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservation.id"], name=op.f("fk_lease_reservation_id_reservation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.create_index(
            "ix_lease_offering_id_requested_at", ["offering_id", "requested_at"], unique=False
        )
        batch_op.create_index("ix_lease_person_id_state", ["person_id", "state"], unique=False)
        batch_op.create_index("ix_lease_requested_at", ["requested_at"], unique=False)
        batch_op.create_index(
            "ix_lease_state_queue_at_id", ["state", "queue_at", "id"], unique=False
        )

    op.create_table(
        "gpu_slot",
        sa.Column("device_id", sa.String(length=80), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"], ["gpu_device.id"], name=op.f("fk_gpu_slot_device_id_gpu_device")
        ),
        sa.ForeignKeyConstraint(
            ["lease_id"], ["lease.id"], name=op.f("fk_gpu_slot_lease_id_lease")
        ),
        sa.PrimaryKeyConstraint("device_id", "number", name=op.f("pk_gpu_slot")),
    )
    with op.batch_alter_table("gpu_slot", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gpu_slot_lease_id"), ["lease_id"], unique=False)

    op.create_table(
        "gpu_use",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("offering_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hours", sa.Double(), nullable=False),
        sa.Column("idle_hours", sa.Double(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column(
            "reason", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["by"], ["person.id"], name=op.f("fk_gpu_use_by_person")),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.id"], name=op.f("fk_gpu_use_lease_id_lease")),
        sa.ForeignKeyConstraint(
            ["offering_id"], ["offering.id"], name=op.f("fk_gpu_use_offering_id_offering")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_gpu_use_person_id_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gpu_use")),
    )
    with op.batch_alter_table("gpu_use", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gpu_use_ends_at"), ["ends_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_gpu_use_lease_id"), ["lease_id"], unique=False)
        batch_op.create_index(
            "ix_gpu_use_person_id_offering_id_week",
            ["person_id", "offering_id", "week"],
            unique=False,
        )


def downgrade() -> None:
    with op.batch_alter_table("gpu_use", schema=None) as batch_op:
        batch_op.drop_index("ix_gpu_use_person_id_offering_id_week")
        batch_op.drop_index(batch_op.f("ix_gpu_use_lease_id"))
        batch_op.drop_index(batch_op.f("ix_gpu_use_ends_at"))

    op.drop_table("gpu_use")
    with op.batch_alter_table("gpu_slot", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gpu_slot_lease_id"))

    op.drop_table("gpu_slot")
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.drop_index("ix_lease_state_queue_at_id")
        batch_op.drop_index("ix_lease_requested_at")
        batch_op.drop_index("ix_lease_person_id_state")
        batch_op.drop_index("ix_lease_offering_id_requested_at")

    op.drop_table("lease")
    with op.batch_alter_table("reservation", schema=None) as batch_op:
        batch_op.drop_index("ix_reservation_ends_at")

    op.drop_table("reservation")
    op.drop_table("gpu_quota")
    op.drop_table("gpu_inventory")
    op.drop_table("gpu_device")
