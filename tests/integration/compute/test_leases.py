"""Leases, their queue, quotas and the ledger, on both databases."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import ledger, reconcile, service
from lms.compute.bookings import Slot, book, cancel, find_slot, reserve
from lms.compute.errors import (
    CannotReserveError,
    LeaseNotFoundError,
    NoDeviceError,
    NoSuchProfileError,
    ProfileForbiddenError,
    QuotaExceededError,
    TooManyWishesError,
)
from lms.compute.models import GpuQuota, GpuSlot, GpuUse, Lease
from lms.compute.profiles import GpuProfile, Terms
from lms.compute.rules import WARNING, Cause, Entry, LeaseState, Need
from lms.compute.waiting import standing
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import ForbiddenError
from lms.identity.scopes import SYSTEM
from lms.protocol.devices import Inventory, RunningLease
from lms.protocol.sentences import sentence
from tests.factories import make_offering, make_person
from tests.factories.compute import (
    SLICE,
    TERMS,
    ask,
    make_student,
    running,
    simulated,
    started,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

Stock = Callable[..., Offering]


@pytest.fixture
def stock(session: Session, now: datetime) -> Stock:
    """Put devices into the machine and return an offering."""

    def put(count: int = 1, slices: int = 1) -> Offering:
        reconcile.take_stock(session, simulated(count, slices), now=now)
        return make_offering(session)

    return put


def held(session: Session) -> int:
    return session.scalar(select(func.count()).where(GpuSlot.lease_id.is_not(None))) or 0


def hours(session: Session, kind: Entry) -> float:
    return float(session.scalar(select(func.sum(GpuUse.hours)).where(GpuUse.kind == kind)) or 0)


# --- asking, waiting, giving back ---


def test_a_free_gpu_is_granted_at_once_and_the_next_wish_waits(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, first = make_student(session, offering)
    _, second = make_student(session, offering)
    granted = ask(session, first, offering, now=now)
    assert granted.state == LeaseState.GRANTED
    assert granted.devices == ["SIM-0"]
    assert granted.simulated
    assert granted.until == now + timedelta(hours=4)
    assert ask(session, second, offering, now=now).state == LeaseState.WAITING


def test_the_same_kernel_asking_again_gets_the_lease_it_has(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(2)
    _, actor = make_student(session, offering)
    first = ask(session, actor, offering, now=now)
    assert ask(session, actor, offering, now=now + MINUTE).id == first.id
    assert held(session) == 1


def test_the_end_of_one_lease_grants_the_next_in_the_same_transaction(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    leases = []
    for number in range(3):
        _, actor = make_student(session, offering)
        leases.append((ask(session, actor, offering, now=now + number * MINUTE), actor))
    (first, owner), (second, _), (third, _) = leases
    service.give_up(session, first.id, actor=owner, now=now + HOUR)
    session.commit()
    session.expire_all()
    assert [first.state, second.state, third.state] == ["ended", "granted", "waiting"]
    assert held(session) == 1


def test_a_lease_is_nobodys_business_but_its_owners_and_the_offerings(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, owner = make_student(session, offering)
    _, other = make_student(session, offering)
    lease = ask(session, owner, offering, now=now)
    with pytest.raises(LeaseNotFoundError):
        service.get_lease(session, lease.id, actor=other)
    with pytest.raises(LeaseNotFoundError):
        service.give_up(session, lease.id, actor=other, now=now)
    with pytest.raises(LeaseNotFoundError):
        service.beat(session, lease.id, busy=True, actor=SYSTEM, now=now)
    service.give_up(session, lease.id, actor=SYSTEM, now=now)
    assert session.get_one(Lease, lease.id).cause == Cause.OPERATOR


def test_who_is_not_in_the_offering_gets_nothing_for_it(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, stranger = make_student(session, make_offering(session))
    with pytest.raises(ForbiddenError):
        ask(session, stranger, offering, now=now)


def test_a_profile_for_others_and_one_that_is_not_there_are_refused(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    closed = GpuProfile(
        key="big", title=Bilingual(ko="큰", en="Big"), need=Need.WHOLE, groups=("administrators",)
    )
    with pytest.raises(ProfileForbiddenError):
        ask(session, actor, offering, now=now, profile="big", terms=Terms(profiles={"big": closed}))
    with pytest.raises(NoSuchProfileError):
        ask(session, actor, offering, now=now, profile="nonsense")


def test_a_machine_without_gpus_says_so_and_the_broker_why(session: Session, now: datetime) -> None:
    why = sentence("No NVIDIA driver was found.")
    reconcile.take_stock(session, Inventory(reason=why), now=now)
    offering = make_offering(session)
    _, actor = make_student(session, offering)
    with pytest.raises(NoDeviceError):
        ask(session, actor, offering, now=now)
    assert service.no_devices_reason(session) == why


def test_one_person_cannot_fill_the_queue(session: Session, stock: Stock, now: datetime) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    for number in range(service.MAX_WISHES):
        ask(session, actor, offering, now=now, kernel=f"k{number}")
    with pytest.raises(TooManyWishesError):
        ask(session, actor, offering, now=now, kernel="one more")
    assert held(session) == 1, "and holds one at a time"


def test_small_wishes_do_not_keep_a_large_one_waiting_for_ever(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1, 2)
    actors = [make_student(session, offering)[1] for _ in range(4)]
    small = ask(session, actors[0], offering, now=now, profile="gpu-slice")
    large = ask(session, actors[1], offering, now=now + MINUTE)
    late = ask(session, actors[2], offering, now=now + 2 * MINUTE, profile="gpu-slice")
    assert (large.state, late.state) == ("waiting", "waiting"), "the other slot is kept empty"
    service.give_up(session, small.id, actor=actors[0], now=now + HOUR)
    session.expire_all()
    assert (large.state, late.state) == ("granted", "waiting")


def test_who_used_more_this_week_is_passed_by_who_comes_a_little_later(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, holder = make_student(session, offering)
    heavy_person, heavy = make_student(session, offering)
    _, light = make_student(session, offering)
    blocking = ask(session, holder, offering, now=now)
    session.add(
        GpuUse(
            lease_id=blocking.id, person_id=heavy_person.id, offering_id=offering.id,
            kind=Entry.USED, week=now.date() - timedelta(days=now.weekday()),
            starts_at=now - 3 * HOUR, ends_at=now, hours=3.0, simulated=True, at=now,
        )
    )  # fmt: skip
    session.flush()
    early = ask(session, heavy, offering, now=now)
    later = ask(session, light, offering, now=now + 20 * MINUTE)
    too_late = ask(session, make_student(session, offering)[1], offering, now=now + 40 * MINUTE)
    order = [
        standing(session, one, terms=TERMS, now=now + HOUR).position
        for one in (later, early, too_late)
    ]
    assert order == [1, 2, 3]


# --- what one who waits is told ---


def test_who_waits_is_told_place_time_reason_and_what_can_be_had_now(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(2, 2)
    ask(session, make_student(session, offering)[1], offering, now=now)
    ask(session, make_student(session, offering)[1], offering, now=now, profile="gpu-slice")
    waiting = ask(session, make_student(session, offering)[1], offering, now=now)
    told = standing(session, waiting, terms=TERMS, now=now)
    assert told.position == 1
    assert told.expected_wait_seconds == 4 * 3600, "nothing is known yet but the caps"
    assert "in use" in str(told.reason)
    kinds = {offer.kind: offer for offer in told.offers}
    assert set(kinds) == {"slice", "booking", "cpu"}
    assert kinds["slice"].profile == "gpu-slice"
    slot = find_slot(session, Need.WHOLE, now=now)
    assert slot is not None
    assert kinds["booking"].starts_at == slot.starts_at == now + 4 * HOUR


def test_a_second_lease_of_one_person_waits_for_the_first(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(2)
    _, actor = make_student(session, offering)
    first = ask(session, actor, offering, now=now, kernel="a")
    second = ask(session, actor, offering, now=now, kernel="b")
    told = standing(session, second, terms=TERMS, now=now)
    assert "hold a GPU already" in str(told.reason)
    service.give_up(session, first.id, actor=actor, now=now)
    session.expire_all()
    assert second.state == LeaseState.GRANTED


# --- idleness, caps, beats ---


def test_an_idle_lease_is_warned_and_then_given_to_the_next(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    _, ending = service.beat(session, lease.id, busy=True, actor=actor, now=now + 10 * MINUTE)
    assert ending is not None
    assert (ending.cause, ending.at) == (Cause.IDLE, now + 25 * MINUTE)
    at = now + 23 * MINUTE
    _, ending = service.beat(session, lease.id, busy=False, actor=actor, now=at)
    assert ending is not None
    assert ending.at - at <= WARNING
    assert service.expire(session, now=now + 24 * MINUTE) == []
    assert service.expire(session, now=now + 25 * MINUTE) == [lease.id]
    session.expire_all()
    assert (lease.state, lease.cause) == ("ended", "idle")
    use = session.scalars(select(GpuUse)).one()
    assert use.hours == pytest.approx(25 / 60)
    assert use.idle_hours == pytest.approx(25 / 60), "ten minutes, and fifteen, without computing"


def test_a_busy_lease_ends_at_its_cap_and_is_charged_no_more(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    service.beat(session, lease.id, busy=True, actor=actor, now=now + 239 * MINUTE)
    late = now + 245 * MINUTE
    assert service.list_due(session, now=late) == [(lease.id, Cause.CAP)]
    service.expire(session, now=late)
    assert hours(session, Entry.USED) == pytest.approx(4.0)


def test_a_wish_that_nobody_asks_after_is_dropped(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    ask(session, make_student(session, offering)[1], offering, now=now)
    waiting = ask(session, make_student(session, offering)[1], offering, now=now)
    assert not service.touch(waiting, now=now + 10 * timedelta(seconds=1))
    assert service.touch(waiting, now=now + 2 * MINUTE)
    assert (waiting.id, Cause.UNUSED) not in service.list_due(session, now=now + 4 * MINUTE)
    assert (waiting.id, Cause.UNUSED) in service.list_due(session, now=now + 6 * MINUTE)


def test_a_lease_that_no_kernel_uses_ends_and_costs_nothing(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = ask(session, actor, offering, now=now)
    assert reconcile.start(session, lease.id, now=now)
    assert service.list_due(session, now=now + MINUTE) == []
    session.expire_all()
    assert service.expire(session, now=now + 3 * MINUTE) == [lease.id]
    assert session.scalars(select(GpuUse)).all() == []


# --- quotas and the ledger ---


def test_a_quota_limits_a_lease_and_then_refuses(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    session.add(GpuQuota(offering_id=offering.id, hours_a_week=1.0, set_at=now))
    session.flush()
    lease = ask(session, actor, offering, now=now)
    assert lease.until == now + HOUR
    started(session, lease, now=now)
    service.end(session, lease.id, Cause.CAP, now=now + HOUR)
    with pytest.raises(QuotaExceededError, match="Monday"):
        ask(session, actor, offering, now=now + HOUR, kernel="k2")
    monday = now + timedelta(days=6)
    assert ask(session, actor, offering, now=monday, kernel="k3").state == LeaseState.GRANTED
    own = GpuQuota(offering_id=offering.id, person_id=person.id, hours_a_week=7.0, set_at=now)
    session.add(own)
    session.flush()
    assert ledger.allowance(session, TERMS, person.id, offering.id) == 7.0
    assert ledger.allowance(session, TERMS, person.id, None) == TERMS.hours_without_course


def test_a_slice_costs_its_price_and_hours_count_while_it_runs(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1, 4)
    person, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now, profile="gpu-slice"), now=now)
    later = now + 2 * HOUR
    live = ledger.used(session, person.id, offering.id, now=later)
    assert live == pytest.approx(2 * SLICE.price)
    service.end(session, lease.id, Cause.PERSON, now=later)
    assert ledger.used(session, person.id, offering.id, now=later) == pytest.approx(live)


def test_use_over_sunday_midnight_counts_in_both_weeks(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    sunday = datetime.fromisoformat("2026-11-29T23:00:00+09:00")
    lease = started(session, ask(session, actor, offering, now=sunday), now=sunday)
    service.end(session, lease.id, Cause.PERSON, now=sunday + 3 * HOUR)
    assert ledger.used(session, person.id, offering.id, now=sunday) == pytest.approx(1.0)
    assert ledger.used(
        session, person.id, offering.id, now=sunday + timedelta(days=1)
    ) == pytest.approx(2.0)


@pytest.mark.parametrize("cause", [Cause.BROKER, Cause.DEVICE, Cause.LOST])
def test_hours_lost_by_our_fault_come_back_by_themselves(
    session: Session, stock: Stock, now: datetime, cause: Cause
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    service.end(session, lease.id, cause, now=now + HOUR)
    assert hours(session, Entry.USED) == pytest.approx(1.0)
    assert hours(session, Entry.REFUNDED) == pytest.approx(-1.0)
    assert ledger.used(session, person.id, offering.id, now=now + HOUR) == pytest.approx(0)
    again = service.refund(session, lease.id, sentence("Again."), actor=SYSTEM, now=now + HOUR)
    assert again == 0, "nothing comes back twice"


def test_an_operator_gives_hours_back_and_a_student_cannot(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    service.end(session, lease.id, Cause.KERNEL, now=now + HOUR)
    why = sentence("The room was dark.")
    with pytest.raises(ForbiddenError):
        service.refund(session, lease.id, why, actor=actor, now=now)
    assert service.refund(session, lease.id, why, actor=SYSTEM, now=now) == pytest.approx(1.0)


def test_the_ledger_cannot_be_changed(session: Session, stock: Stock, now: datetime) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    service.end(session, lease.id, Cause.PERSON, now=now + HOUR)
    line = session.scalars(select(GpuUse)).one()
    line.hours = 0.0
    with pytest.raises(TypeError, match="only ever added to"):
        session.flush()


# --- reservations ---


def lesson(now: datetime, *, need: Need = Need.SLICE, seats: int = 2) -> Slot:
    return Slot(need=need, seats=seats, starts_at=now + HOUR, ends_at=now + 3 * HOUR)


def test_a_class_of_sixty_gets_its_seats_on_thursday(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(16, 4)
    other = make_offering(session)
    thursday = datetime.fromisoformat("2026-11-26T14:00:00+09:00")
    slot = Slot(need=Need.SLICE, seats=60, starts_at=thursday, ends_at=thursday + 2 * HOUR)
    reserve(session, slot, offering_id=offering.id, actor=SYSTEM, now=now)
    before = [
        ask(session, make_student(session, other)[1], other, now=thursday - 2 * HOUR,
            profile="gpu-slice")
        for _ in range(20)
    ]  # fmt: skip
    assert all(one.state == "granted" for one in before)
    assert sum(one.until == thursday for one in before) == 16, "four of 64 are nobody's seats"
    service.expire(session, now=thursday)
    seated = [
        ask(session, make_student(session, offering)[1], offering, now=thursday,
            profile="gpu-slice")
        for _ in range(60)
    ]  # fmt: skip
    assert all(one.state == "granted" for one in seated)
    assert {one.reservation_id is not None for one in seated} == {True}


def test_others_wait_while_seats_are_kept_and_are_told_why(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering, other = stock(1, 2), make_offering(session)
    reserve(session, lesson(now), offering_id=offering.id, actor=SYSTEM, now=now)
    during = now + HOUR
    waiting = ask(session, make_student(session, other)[1], other, now=during, profile="gpu-slice")
    assert waiting.state == LeaseState.WAITING
    told = standing(session, waiting, terms=TERMS, now=during)
    assert "class" in str(told.reason)
    assert told.expected_wait_seconds == 2 * 3600
    mine = ask(
        session, make_student(session, offering)[1], offering, now=during, profile="gpu-slice"
    )
    assert mine.state == LeaseState.GRANTED, "although somebody waits already"


def test_more_seats_than_there_are_cannot_be_kept(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1, 2)
    made = reserve(session, lesson(now), offering_id=offering.id, actor=SYSTEM, now=now)
    with pytest.raises(CannotReserveError):
        reserve(session, lesson(now, seats=1), offering_id=offering.id, actor=SYSTEM, now=now)
    cancel(session, made.id, actor=SYSTEM, now=now)
    reserve(session, lesson(now, seats=1), offering_id=offering.id, actor=SYSTEM, now=now)
    _, student = make_student(session, offering)
    with pytest.raises(ForbiddenError):
        reserve(session, lesson(now), offering_id=offering.id, actor=student, now=now)


def test_leases_in_the_way_of_a_new_reservation_end_when_it_begins(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering, other = stock(2), make_offering(session)
    first = ask(session, make_student(session, other)[1], other, now=now)
    second = ask(session, make_student(session, other)[1], other, now=now + MINUTE)
    slot = lesson(now, need=Need.WHOLE, seats=1)
    reserve(session, slot, offering_id=offering.id, actor=SYSTEM, now=now + 2 * MINUTE)
    assert (first.until, second.until) == (now + 4 * HOUR, slot.starts_at)


def test_one_books_one_hour_for_oneself_and_it_is_kept(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, me = make_student(session, offering)
    _, other = make_student(session, offering)
    for _ in range(2):
        slot = find_slot(session, Need.WHOLE, now=now)
        assert slot is not None
        booked = book(session, slot, actor=me, now=now)
    theirs = ask(session, other, offering, now=now)
    assert theirs.until == booked.starts_at
    service.expire(session, now=booked.starts_at)
    mine = ask(session, me, offering, now=booked.starts_at)
    assert (mine.state, mine.reservation_id) == ("granted", booked.id)


# --- against what really runs ---


def test_the_broker_is_told_of_grants_and_of_ends(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    lease = ask(session, actor, offering, now=now)
    (grant,) = reconcile.list_grants(session)
    assert (grant.lease, grant.uid, grant.devices) == (lease.id, person.os_uid, ("SIM-0",))
    assert reconcile.start(session, lease.id, now=now)
    assert not reconcile.start(session, lease.id, now=now), "once"
    assert reconcile.list_grants(session) == []
    service.end(session, lease.id, Cause.PERSON, now=now)
    assert reconcile.list_revocations(session) == [(lease.id, Cause.PERSON)]
    reconcile.note_revoked(session, lease.id, now=now)
    assert reconcile.list_revocations(session) == []


def test_what_runs_without_a_row_is_named_an_orphan(
    session: Session, stock: Stock, now: datetime
) -> None:
    stock(1)
    stray = RunningLease(lease="ff" * 16, uid=200001, devices=("SIM-0",), until=0)
    assert reconcile.has_news(session, [stray], now=now)
    assert reconcile.compare(session, [stray], now=now).orphans == (stray.lease,)


def test_a_lease_that_the_broker_forgot_ends_and_costs_nothing(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    reconcile.compare(session, [], now=now + timedelta(seconds=1))
    assert lease.state == LeaseState.GRANTED, "the answer may be older than the grant"
    found = reconcile.compare(session, [], now=now + HOUR)
    assert found.ended == (lease.id,)
    session.expire_all()
    assert (lease.state, lease.cause) == ("ended", "broker")
    assert ledger.used(session, person.id, offering.id, now=now + HOUR) == pytest.approx(0)


def test_a_lease_whose_time_is_up_is_not_given_back_when_the_broker_ended_it_first(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    service.beat(session, lease.id, busy=True, actor=actor, now=now + 239 * MINUTE)
    at = now + 4 * HOUR
    reconcile.compare(session, [], now=at)
    service.expire(session, now=at)
    session.expire_all()
    assert lease.cause == Cause.CAP
    assert ledger.used(session, person.id, offering.id, now=at) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("how", "cause", "cost"), [("lost", "lost", 0.0), ("exited", "kernel", 1.0)]
)
def test_a_lease_whose_kernel_has_gone_ends_and_is_given_back_when_that_was_ours(
    session: Session, stock: Stock, now: datetime, how: str, cause: str, cost: float
) -> None:
    offering = stock(1)
    person, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    reconcile.compare(session, [running(lease)], now=now + HOUR)
    bare = running(lease, kernels=0)
    gone = RunningLease(
        lease=bare.lease, uid=bare.uid, devices=bare.devices, until=bare.until, ended=how
    )
    at = now + HOUR + timedelta(seconds=30)
    assert reconcile.has_news(session, [gone], now=at)
    assert reconcile.compare(session, [gone], now=at).ended == (lease.id,)
    session.expire_all()
    assert lease.cause == cause
    assert ledger.used(session, person.id, offering.id, now=at) == pytest.approx(cost, abs=0.01)


def test_what_the_broker_says_of_kernels_counts_as_computing(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(1)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    at = now + 14 * MINUTE
    assert reconcile.has_news(session, [running(lease, idle=30)], now=at)
    reconcile.compare(session, [running(lease, idle=30)], now=at)
    assert lease.busy_at == at - timedelta(seconds=30)
    assert not reconcile.has_news(session, [running(lease, idle=30)], now=at)
    assert service.list_due(session, now=now + 20 * MINUTE) == []


def test_a_device_that_goes_away_ends_its_lease_and_the_person_gets_another(
    session: Session, stock: Stock, now: datetime
) -> None:
    offering = stock(2)
    _, actor = make_student(session, offering)
    lease = started(session, ask(session, actor, offering, now=now), now=now)
    assert lease.devices == ["SIM-0"]
    left = Inventory(devices=simulated(2).devices[1:])
    assert not reconcile.is_known(session, left)
    reconcile.take_stock(session, left, now=now + HOUR)
    session.expire_all()
    assert lease.cause == Cause.DEVICE
    assert hours(session, Entry.REFUNDED) == pytest.approx(-1.0)
    assert reconcile.is_known(session, left)
    again = ask(session, actor, offering, now=now + HOUR, kernel="k2")
    assert again.devices == ["SIM-1"]


def test_a_device_cut_into_fewer_slices_loses_its_free_ones(
    session: Session, stock: Stock, now: datetime
) -> None:
    stock(1, 4)
    reconcile.take_stock(session, simulated(1, 2), now=now)
    assert session.scalar(select(func.count()).select_from(GpuSlot)) == 2
    assert make_person(session).id
