"""Tables of compute: devices and their slots, leases, reservations, quotas, the ledger of use."""

from datetime import date, datetime
from typing import Any, NoReturn

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, event, text
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant, Json


class GpuInventory(Base):
    """What the broker last said of this machine's devices; one row."""

    __tablename__ = "gpu_inventory"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: When the broker last answered.
    at: Mapped[datetime] = mapped_column(Instant)
    #: A Sentence as JSON: why there are no devices.
    reason: Mapped[dict[str, Any] | None] = mapped_column(Json)


class GpuDevice(Base):
    """A GPU, a part of one, or a simulated one; the row stays when the device has gone."""

    __tablename__ = "gpu_device"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    #: A value of lms.protocol.devices.DeviceKind.
    kind: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(100))
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    #: How many leases may hold it at once.
    slices: Mapped[int]
    simulated: Mapped[bool]
    #: False once the broker no longer names it.
    present: Mapped[bool]


class GpuSlot(Base):
    """One slice of a device. A lease holds a slot by standing in its row, so nobody else can."""

    __tablename__ = "gpu_slot"

    device_id: Mapped[str] = mapped_column(ForeignKey("gpu_device.id"), primary_key=True)
    #: 0, 1, 2 … on each device.
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lease_id: Mapped[str | None] = mapped_column(ForeignKey("lease.id"), index=True)


#: What a granted lease is until the broker has heard of its end.
_UNREVOKED = text("granted_at IS NOT NULL AND revoked_at IS NULL")


class Lease(Base):
    """A person's timed right to a profile, from the wish for it to its end."""

    __tablename__ = "lease"
    __table_args__ = (
        Index("ix_lease_state_queue_at_id", "state", "queue_at", "id"),
        Index("ix_lease_person_id_state", "person_id", "state"),
        Index("ix_lease_offering_id_requested_at", "offering_id", "requested_at"),
        Index("ix_lease_requested_at", "requested_at"),
        Index("ix_lease_unrevoked", "id", sqlite_where=_UNREVOKED, postgresql_where=_UNREVOKED),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    #: None when it is for no course.
    offering_id: Mapped[int | None] = mapped_column(ForeignKey("offering.id"))
    profile: Mapped[str] = mapped_column(String(64))
    #: A value of lms.compute.rules.Need.
    need: Mapped[str] = mapped_column(String(8))
    #: Jupyter's id of the kernel it is for.
    kernel_id: Mapped[str] = mapped_column(String(64))
    #: A value of lms.compute.rules.LeaseState.
    state: Mapped[str] = mapped_column(String(8))

    # The profile's terms when it was asked for; a changed file changes no running lease.
    #: GPU-hours of quota that one hour costs.
    price: Mapped[float]
    cap_seconds: Mapped[int]
    idle_seconds_allowed: Mapped[int]
    #: GPU-hours a week that the person had in this offering.
    hours_a_week: Mapped[float]
    #: How many leases the person may hold at once.
    at_once: Mapped[int]

    requested_at: Mapped[datetime] = mapped_column(Instant)
    #: The place in the queue: when it was asked for, later for those who used more this week.
    queue_at: Mapped[datetime] = mapped_column(Instant)
    granted_at: Mapped[datetime | None] = mapped_column(Instant)
    #: When the broker knew of it; its use counts from here.
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    until: Mapped[datetime | None] = mapped_column(Instant)
    #: When the broker last had a kernel under it.
    kernel_at: Mapped[datetime | None] = mapped_column(Instant)
    #: When it last computed, as far as notebook and broker tell.
    busy_at: Mapped[datetime | None] = mapped_column(Instant)
    #: When its notebook last said anything; for a wish, when somebody last asked after it.
    beat_at: Mapped[datetime] = mapped_column(Instant)
    #: Seconds in which it held a device and did not compute, up to `busy_at`.
    idle_seconds: Mapped[float] = mapped_column(default=0.0)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    #: A value of lms.compute.rules.Cause.
    cause: Mapped[str | None] = mapped_column(String(12))
    #: When the broker knew of the end.
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
    simulated: Mapped[bool] = mapped_column(default=False)
    #: Ids of the devices it holds or held.
    devices: Mapped[list[str]] = mapped_column(Json, default=list)
    reservation_id: Mapped[int | None] = mapped_column(ForeignKey("reservation.id"))


class Reservation(Base):
    """Seats kept for an offering's people, or a slot that one person has booked."""

    __tablename__ = "reservation"
    __table_args__ = (Index("ix_reservation_ends_at", "ends_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    offering_id: Mapped[int | None] = mapped_column(ForeignKey("offering.id"))
    #: Set when one person booked it for themselves.
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    need: Mapped[str] = mapped_column(String(8))
    seats: Mapped[int]
    starts_at: Mapped[datetime] = mapped_column(Instant)
    ends_at: Mapped[datetime] = mapped_column(Instant)
    #: What was asked for: `seats` and `ends_at` shrink when nobody comes, these do not.
    asked_seats: Mapped[int]
    asked_until: Mapped[datetime] = mapped_column(Instant)
    #: When seats that nobody had taken were given to everybody.
    reviewed_at: Mapped[datetime | None] = mapped_column(Instant)
    cancelled_at: Mapped[datetime | None] = mapped_column(Instant)
    made_at: Mapped[datetime] = mapped_column(Instant)
    #: None for the command line.
    made_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class GpuQuota(Base):
    """GPU-hours a week that differ from the profile file's: an offering's, or a person's in it."""

    __tablename__ = "gpu_quota"
    __table_args__ = (UniqueConstraint("offering_id", "person_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"))
    #: None: for everybody in the offering.
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    hours_a_week: Mapped[float]
    set_at: Mapped[datetime] = mapped_column(Instant)
    set_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class GpuPromise(Base):
    """How many seats an offering's instructors may keep, where an operator has set it."""

    __tablename__ = "gpu_promise"

    offering_id: Mapped[int] = mapped_column(
        ForeignKey("offering.id"), primary_key=True, autoincrement=False
    )
    seats_at_once: Mapped[int]
    #: Seats times hours, by week.
    seat_hours_a_week: Mapped[float]
    set_at: Mapped[datetime] = mapped_column(Instant)
    #: None for the command line.
    set_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class GpuQuotaChange(Base):
    """One change of what an offering may have, and why. Never changed, never deleted."""

    __tablename__ = "gpu_quota_change"
    __table_args__ = (Index("ix_gpu_quota_change_offering_id_id", "offering_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"))
    #: None: of everybody in the offering.
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    #: A value of lms.compute.changes.Kind.
    kind: Mapped[str] = mapped_column(String(8))
    #: Columns of the row that was changed; None where the profile file or the machine decides.
    before: Mapped[dict[str, float] | None] = mapped_column(Json)
    after: Mapped[dict[str, float] | None] = mapped_column(Json)
    why: Mapped[str] = mapped_column(String(1000))
    #: The change that this one took back.
    undoes: Mapped[int | None] = mapped_column(ForeignKey("gpu_quota_change.id"))
    at: Mapped[datetime] = mapped_column(Instant)
    #: None for the command line.
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


_OPEN = text("answered_at IS NULL")


class GpuHoursRequest(Base):
    """An instructor's request for more GPU-hours a week, and what an operator answered."""

    __tablename__ = "gpu_hours_request"
    __table_args__ = (
        # One at a time: the next says more than the one before, not beside it.
        Index(
            "ix_gpu_hours_request_open", "offering_id", unique=True,
            sqlite_where=_OPEN, postgresql_where=_OPEN,
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"), index=True)
    #: For each person of the offering.
    hours_a_week: Mapped[float]
    why: Mapped[str] = mapped_column(String(1000))
    asked_at: Mapped[datetime] = mapped_column(Instant)
    asked_by: Mapped[int] = mapped_column(ForeignKey("person.id"))
    #: What was given; None while it is open, and when it was declined or withdrawn.
    granted_hours: Mapped[float | None]
    answer: Mapped[str] = mapped_column(String(1000), default="")
    answered_at: Mapped[datetime | None] = mapped_column(Instant)
    #: Whoever asked, when it was withdrawn.
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class GpuUse(Base):
    """One line of the ledger: hours used, or given back. Never changed, never deleted."""

    __tablename__ = "gpu_use"
    __table_args__ = (
        Index("ix_gpu_use_person_id_offering_id_week", "person_id", "offering_id", "week"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    lease_id: Mapped[str] = mapped_column(ForeignKey("lease.id"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    offering_id: Mapped[int | None] = mapped_column(ForeignKey("offering.id"))
    #: A value of lms.compute.rules.Entry.
    kind: Mapped[str] = mapped_column(String(10))
    #: The Monday of the week that it counts in.
    week: Mapped[date]
    starts_at: Mapped[datetime] = mapped_column(Instant)
    ends_at: Mapped[datetime] = mapped_column(Instant, index=True)
    #: GPU-hours of quota; negative when given back.
    hours: Mapped[float]
    #: How many of them passed without computing.
    idle_hours: Mapped[float] = mapped_column(default=0.0)
    simulated: Mapped[bool]
    #: A Sentence as JSON.
    reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    at: Mapped[datetime] = mapped_column(Instant)
    #: None for the system itself.
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


@event.listens_for(GpuUse, "before_update")
@event.listens_for(GpuUse, "before_delete")
def _keep_ledger(*_: object) -> NoReturn:
    raise TypeError("the ledger of use is only ever added to")


@event.listens_for(GpuQuotaChange, "before_update")
@event.listens_for(GpuQuotaChange, "before_delete")
def _keep_history(*_: object) -> NoReturn:
    raise TypeError("the history of quotas is only ever added to")
