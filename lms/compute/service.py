"""Use cases of leases: ask, look, beat, end, expire, give back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import ledger
from lms.compute.errors import (
    LeaseNotFoundError,
    NoDeviceError,
    ProfileForbiddenError,
    QuotaExceededError,
    TooManyWishesError,
)
from lms.compute.models import GpuInventory, Lease
from lms.compute.profiles import GpuProfile, Terms
from lms.compute.queue import advance, free_slots, one_at_a_time, read_pool
from lms.compute.rules import (
    OURS,
    Cause,
    Ending,
    LeaseState,
    Need,
    Size,
    idle_gap,
    next_end,
    queue_at,
)
from lms.compute.words import GIVEN_BACK
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.sentences import Sentence

#: Wishes that one person can have waiting.
MAX_WISHES = 4
#: A wish that nobody has asked after for this long is dropped.
FORGOTTEN = timedelta(minutes=3)
#: How long a granted lease may be without a kernel before it is taken back.
UNUSED = timedelta(minutes=2)
#: How long the broker may take to hear of a grant.
UNTOLD = timedelta(minutes=2)
#: How often a wish's sign of life is written down at most.
_TOUCH = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a kernel asks for."""

    profile: str
    kernel_id: str
    offering_id: int | None = None


def groups_of(session: Session, actor: Actor) -> set[str]:
    """Return the groups that profiles name: those that the Hub knows the actor by."""
    keys = session.execute(select(Offering.id, Offering.key).where(Offering.id.in_(actor.roles)))
    groups = {f"offering:{key}:{actor.roles[offering_id]}" for offering_id, key in keys}
    return groups | ({"administrators"} if actor.is_admin else set())


def require_profile(session: Session, profile: GpuProfile, *, actor: Actor) -> None:
    """Raise ProfileForbiddenError when the actor may not have that profile."""
    if not profile.is_open_to(groups_of(session, actor)):
        raise ProfileForbiddenError


def request(session: Session, wish: Wish, *, terms: Terms, actor: Actor, now: datetime) -> Lease:
    """Ask for a lease; it is granted at once when it can be, and waits otherwise.

    The same kernel asking again gets the lease it has. Raises NoSuchProfileError,
    ProfileForbiddenError, NoDeviceError, QuotaExceededError or TooManyWishesError.
    """
    profile = terms.get(wish.profile)
    if wish.offering_id is not None:
        actor.require("compute:use", wish.offering_id)
    require_profile(session, profile, actor=actor)
    one_at_a_time(session)
    known = session.scalars(_open(actor.person_id)).all()
    same = [one for one in known if (one.kernel_id, one.profile) == (wish.kernel_id, profile.key)]
    if same:
        return same[0]
    if len(known) >= MAX_WISHES:
        raise TooManyWishesError(MAX_WISHES)
    lease = _add(session, wish, profile, terms, actor.person_id, now)
    advance(session, now=now)
    return lease


def _open(person_id: int) -> Select[Lease]:
    return select(Lease).where(Lease.person_id == person_id, Lease.state != LeaseState.ENDED)


def _add(
    session: Session, wish: Wish, profile: GpuProfile, terms: Terms, person_id: int, now: datetime
) -> Lease:
    if not can_ever_hold(profile.need, read_pool(session, now=now).sizes):
        raise NoDeviceError
    hours = ledger.allowance(session, terms, person_id, wish.offering_id)
    spent = ledger.promised(session, person_id, wish.offering_id, now=now)
    if hours - spent <= 0 and not _holds(session, person_id, wish.offering_id):
        raise QuotaExceededError(hours)
    lease = Lease(
        id=uuid4().hex,
        person_id=person_id,
        offering_id=wish.offering_id,
        profile=profile.key,
        need=profile.need,
        kernel_id=wish.kernel_id,
        state=LeaseState.WAITING,
        price=profile.price,
        cap_seconds=int(profile.cap.total_seconds()),
        idle_seconds_allowed=int(profile.idle.total_seconds()),
        hours_a_week=hours,
        at_once=terms.at_once,
        requested_at=now,
        queue_at=queue_at(now, ledger.used(session, person_id, wish.offering_id, now=now)),
        beat_at=now,
        idle_seconds=0.0,
        simulated=False,
        devices=[],
    )
    session.add(lease)
    session.flush()
    return lease


def _holds(session: Session, person_id: int, offering_id: int | None) -> bool:
    # What a running lease is promised may come back: then a wish behind it is worth keeping.
    running = session.scalars(_open(person_id)).all()
    return any(
        one.offering_id == offering_id and one.state == LeaseState.GRANTED for one in running
    )


def can_ever_hold(need: Need, sizes: Sequence[Size]) -> bool:
    """Say whether any device could take `need` if it were free."""
    return any(need is Need.SLICE or not size.is_part for size in sizes)


def get_lease(session: Session, lease_id: str, *, actor: Actor) -> Lease:
    """Return a lease, for its owner or whoever looks after it; raises LeaseNotFoundError."""
    lease = session.get(Lease, lease_id)
    if lease is None or not (
        lease.person_id == actor.person_id or actor.may("compute:read", lease.offering_id)
    ):
        raise LeaseNotFoundError
    return lease


def list_own(session: Session, person_id: int) -> list[Lease]:
    """Return the person's open leases, granted ones first."""
    return list(
        session.scalars(_open(person_id).order_by(Lease.state, Lease.requested_at, Lease.id))
    )


def give_up(session: Session, lease_id: str, *, actor: Actor, now: datetime) -> Lease:
    """End a lease of one's own, or anybody's as an operator; ending it twice changes nothing."""
    lease = get_lease(session, lease_id, actor=actor)
    if lease.person_id == actor.person_id:
        end(session, lease.id, Cause.PERSON, now=now)
    else:
        actor.require("compute:manage", lease.offering_id)
        end(session, lease.id, Cause.OPERATOR, now=now)
    return lease


def end(session: Session, lease_id: str, cause: Cause, *, now: datetime) -> bool:
    """End a lease, write down its use, and grant what it frees; says whether it was open still.

    What was lost by our own fault is given back in the same transaction.
    """
    one_at_a_time(session)
    ended = session.scalars(
        update(Lease)
        .where(Lease.id == lease_id, Lease.state != LeaseState.ENDED)
        .values(state=LeaseState.ENDED, ended_at=now, cause=cause)
        .returning(Lease.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not ended:
        return False
    lease = session.get_one(Lease, lease_id)
    session.refresh(lease)
    free_slots(session, lease.id)
    # A lease that ran past its end while nobody looked is charged to its end alone.
    until = now if lease.until is None else min(now, lease.until)
    ledger.write_use(session, lease, ended_at=until)
    if cause in OURS:
        ledger.give_back(session, lease.id, GIVEN_BACK, now=now)
    advance(session, now=now)
    return True


def beat(
    session: Session, lease_id: str, *, busy: bool, actor: Actor, now: datetime
) -> tuple[Lease, Ending | None]:
    """Note what the notebook says of its kernel; returns when the lease ends if it stays idle."""
    lease = get_lease(session, lease_id, actor=actor)
    if lease.person_id != actor.person_id:
        raise LeaseNotFoundError
    if lease.state != LeaseState.GRANTED:
        touch(lease, now=now)
        return lease, None
    lease.beat_at = now
    if lease.started_at is not None:
        # Who beats has a kernel, whether or not the broker can be asked just now.
        lease.kernel_at = lease.kernel_at or now
    if busy:
        note_busy(lease, now)
    return lease, ending_of(lease)


def ending_of(lease: Lease) -> Ending:
    """Return when a granted lease ends if its kernel computes no more."""
    if lease.until is None or lease.busy_at is None:
        raise ValueError("only a granted lease has an end")
    return next_end(lease.until, lease.busy_at, timedelta(seconds=lease.idle_seconds_allowed))


def note_busy(lease: Lease, at: datetime) -> None:
    """Note that the lease's kernel computed at `at`."""
    if lease.busy_at is None or at > lease.busy_at:
        if lease.busy_at is not None:
            lease.idle_seconds += idle_gap(lease.busy_at, at, least=ledger.PAUSE)
        lease.busy_at = at


def touch(lease: Lease, *, now: datetime) -> bool:
    """Note that somebody still waits for the lease; says whether there was anything to write."""
    if lease.state != LeaseState.WAITING or now - lease.beat_at < _TOUCH:
        return False
    lease.beat_at = now
    return True


def list_due(session: Session, *, now: datetime) -> list[tuple[str, Cause]]:
    """Return the leases that must end now, and why; it only reads."""
    open_leases = session.scalars(select(Lease).where(Lease.state != LeaseState.ENDED))
    return [(one.id, cause) for one in open_leases if (cause := _due(one, now)) is not None]


def _due(lease: Lease, now: datetime) -> Cause | None:
    if lease.state == LeaseState.WAITING:
        return Cause.UNUSED if now - lease.beat_at > FORGOTTEN else None
    if lease.started_at is None:
        untold = lease.granted_at is not None and now - lease.granted_at > UNTOLD
        return Cause.BROKER if untold else None
    ending = ending_of(lease)
    if ending.at <= now:
        return ending.cause
    unused = lease.kernel_at is None and now - lease.started_at > UNUSED
    return Cause.UNUSED if unused else None


def expire(session: Session, *, now: datetime) -> list[str]:
    """End every lease that is due; returns their ids."""
    return [
        lease_id for lease_id, cause in list_due(session, now=now)
        if end(session, lease_id, cause, now=now)
    ]  # fmt: skip


def refund(
    session: Session, lease_id: str, reason: Sentence, *, actor: Actor, now: datetime
) -> float:
    """Give back what an ended lease used; returns the GPU-hours, 0 when it was done before."""
    lease = get_lease(session, lease_id, actor=actor)
    actor.require("compute:manage", lease.offering_id)
    one_at_a_time(session)
    return ledger.give_back(session, lease.id, reason, now=now, by=actor.person_id or None)


def no_devices_reason(session: Session) -> Sentence | None:
    """Return why this machine has no devices; None when it has some or nobody asked yet."""
    known = session.scalar(select(GpuInventory))
    if known is None or known.reason is None:
        return None
    return Sentence.from_json(known.reason)


def owner_uid(session: Session, lease: Lease) -> int:
    """Return the OS user id that the lease's kernels run as."""
    return session.get_one(Person, lease.person_id).os_uid
