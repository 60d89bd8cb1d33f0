"""What somebody who waits is told: the place in the queue, how long, why, what can be had now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.compute import bookings, ledger, words
from lms.compute.models import Lease
from lms.compute.profiles import GpuProfile, Terms
from lms.compute.queue import (
    could_start,
    list_reservations,
    list_waiting,
    own_reservation,
    read_pool,
)
from lms.compute.rules import (
    LeaseState,
    Need,
    Pool,
    Running,
    expected_end,
    expected_start,
    place,
)
from lms.protocol.sentences import Sentence, sentence

#: How many past leases tell how long one lasts.
_PAST = 50
#: How long a lease is taken to last before there are any past ones.
_GUESS = timedelta(hours=1)
_ALL_BUSY = sentence("Every GPU of this size is in use.")
_RESERVED = sentence("The free GPUs are kept for a class that has reserved them.")
_ONE_AT_A_TIME = sentence("You hold a GPU already; this one follows when you give it back.")
NOTHING_TO_BOOK = sentence("No hour is free within the next day. Please try again later.")
_SMALLER = sentence(
    "A smaller part of a GPU is free: the panel beside the kernel's name switches to it."
)
_HOUR = sentence("Book an hour: a place will be free then.")
_ON_CPU = sentence(
    "Begin on the CPU now. Your place in the queue stays; when it is your turn, one click restarts "
    "the kernel on the GPU and runs all cells again."
)
_NO_HOURS = sentence("Your GPU-hours of this week are promised to your other lease.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be had now instead of waiting."""

    #: "slice": another profile at once; "booking": a place at a time; "cpu": begin without.
    kind: str
    text: Sentence
    profile: str = ""
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def to_json(self) -> dict[str, object]:
        """Return the offer as JSON values."""
        return {
            "kind": self.kind,
            "text": str(self.text),
            "sentence": self.text.to_json(),
            "profile": self.profile,
            "starts_at": None if self.starts_at is None else self.starts_at.isoformat(),
            "ends_at": None if self.ends_at is None else self.ends_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a wish stands in the queue."""

    #: 1 is next.
    position: int
    #: None when nobody can tell.
    expected_wait_seconds: int | None
    reason: Sentence
    offers: tuple[Offer, ...]


def standing(session: Session, lease: Lease, *, terms: Terms, now: datetime) -> Standing:
    """Return where the waiting lease stands."""
    queue = list_waiting(session)
    ahead = [one for one in queue if (one.queue_at, one.id) < (lease.queue_at, lease.id)]
    pool = read_pool(session, now=now)
    reason = _reason(session, lease, pool, now)
    # Then it waits for what its own person does, which nobody can tell.
    is_own = reason in (_ONE_AT_A_TIME, _NO_HOURS)
    offers = (
        None if is_own else _smaller(session, lease, terms, now),
        _hour(session, lease, now),
        Offer(kind="cpu", text=_ON_CPU),
    )
    return Standing(
        position=len(ahead) + 1,
        expected_wait_seconds=None if is_own else _wait(session, lease, ahead, pool, now),
        reason=reason,
        offers=tuple(one for one in offers if one is not None),
    )


def _wait(
    session: Session, lease: Lease, ahead: Sequence[Lease], pool: Pool, now: datetime
) -> int | None:
    lengths = past_lengths(session, lease.profile)
    typical = _typical(lengths, timedelta(seconds=lease.cap_seconds))
    start = expected_start(
        [Need(one.need) for one in ahead],
        Need(lease.need),
        pool,
        _ends(session, lengths, now),
        now=now,
        length=typical,
    )
    if start is None:
        return None
    classes = [
        one.ends_at
        for one in pool.seats
        if one.starts_at <= now < one.ends_at and not _can_have(lease, pool, now)
    ]
    if start <= now and classes:
        start = min(classes)
    return max(0, round((start - now).total_seconds()))


def expected_wait(session: Session, profile: GpuProfile, *, now: datetime) -> int | None:
    """Return the seconds that a wish made now would probably wait; None when nobody can tell."""
    pool, queue = read_pool(session, now=now), list_waiting(session)
    if not queue and place(profile.need, pool, now=now, until=now + profile.cap) is not None:
        return 0
    lengths = past_lengths(session, profile.key)
    start = expected_start(
        [Need(one.need) for one in queue],
        profile.need,
        pool,
        _ends(session, lengths, now),
        now=now,
        length=_typical(lengths, profile.cap),
    )
    # A free place that a class keeps is none: then nobody can tell.
    return None if start is None or start <= now else round((start - now).total_seconds())


def _typical(lengths: Sequence[float], cap: timedelta) -> timedelta:
    if lengths:
        return timedelta(seconds=sorted(lengths)[len(lengths) // 2])
    return min(_GUESS, cap)


def _can_have(lease: Lease, pool: Pool, now: datetime) -> bool:
    until = now + timedelta(seconds=lease.cap_seconds)
    return place(Need(lease.need), pool, now=now, until=until) is not None


def past_lengths(session: Session, profile: str) -> list[float]:
    """Return how long the last leases of a profile lasted, in seconds."""
    rows = session.execute(
        select(Lease.started_at, Lease.ended_at)
        .where(
            Lease.state == LeaseState.ENDED, Lease.profile == profile,
            Lease.started_at.is_not(None), Lease.kernel_at.is_not(None),
        )
        .order_by(Lease.ended_at.desc())
        .limit(_PAST)
    )  # fmt: skip
    return [(ended - started).total_seconds() for started, ended in rows if started and ended]


def _ends(session: Session, lengths: Sequence[float], now: datetime) -> list[tuple[str, datetime]]:
    """Return the probable end of what holds each slot now."""
    granted = session.scalars(select(Lease).where(Lease.state == LeaseState.GRANTED))
    ends = []
    for one in granted:
        for device in one.devices:
            running = Running(
                device=device,
                slots=1,
                started_at=one.started_at or one.granted_at or now,
                until=one.until or now,
            )
            ends += [(device, expected_end(running, lengths, now))] * _slots(one, device)
    return ends


def _slots(lease: Lease, _device: str) -> int:
    # More entries than a device has slots are left out by the rule that reads them.
    return 64 if lease.need == Need.WHOLE else 1


def _reason(session: Session, lease: Lease, pool: Pool, now: datetime) -> Sentence:
    mine = session.scalars(
        select(Lease).where(Lease.person_id == lease.person_id, Lease.state == LeaseState.GRANTED)
    ).all()
    if len(mine) >= lease.at_once:
        return _ONE_AT_A_TIME
    spent = ledger.promised(session, lease.person_id, lease.offering_id, now=now)
    if lease.hours_a_week - spent <= 0:
        return _NO_HOURS
    if _can_have(lease, pool, now):
        return words.PREPARED
    free = Pool(sizes=pool.sizes, holds=pool.holds)
    reservations = list_reservations(session, now=now)
    has_seat = own_reservation(lease, reservations, pool, now=now) is not None
    return _RESERVED if not has_seat and _can_have(lease, free, now) else _ALL_BUSY


def _smaller(session: Session, lease: Lease, terms: Terms, now: datetime) -> Offer | None:
    """Return the smaller profile that would be granted at once."""
    if lease.need != Need.WHOLE:
        return None
    for profile in terms.of_need(Need.SLICE):
        until = now + profile.cap
        if not profile.groups and could_start(
            session, Need.SLICE, until=until, instead_of=lease, now=now
        ):
            return Offer(kind="slice", text=_SMALLER, profile=profile.key)
    return None


def _hour(session: Session, lease: Lease, now: datetime) -> Offer | None:
    """Return the next hour, for those who may still book one."""
    if not bookings.may_book(session, lease.person_id, now=now):
        return None
    slot = bookings.find_slot(session, Need(lease.need), now=now)
    if slot is None:
        return None
    return Offer(kind="booking", text=_HOUR, starts_at=slot.starts_at, ends_at=slot.ends_at)
