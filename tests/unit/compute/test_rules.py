"""Placing, promises, quotas, order and waiting, from values alone."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.compute.rules import (
    SET_BACK_PER_HOUR,
    SHORTEST,
    Cause,
    Hold,
    Need,
    Pool,
    Running,
    Seats,
    Size,
    allowed_until,
    awaited,
    by_week,
    expected_end,
    expected_start,
    fits,
    hours_between,
    hours_in_week,
    idle_gap,
    in_use,
    next_end,
    place,
    queue_at,
    week_of,
    week_start,
)

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

minutes = st.integers(1, 600).map(lambda count: timedelta(minutes=count))
needs = st.sampled_from(Need)
sizes = st.lists(
    st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=4
).map(
    lambda drawn: [
        Size(device=f"d{number}", slots=1 if part else slots, is_part=part)
        for number, (slots, part) in enumerate(drawn)
    ]
)  # fmt: skip
instants = minutes.map(lambda later: NOW - timedelta(hours=3) + later)


@st.composite
def seats(draw: st.DrawFn, number: int) -> Seats:
    start = draw(instants)
    return Seats(
        id=number,
        need=draw(needs),
        count=draw(st.integers(1, 3)),
        starts_at=start,
        ends_at=start + draw(minutes),
    )


def _filled(pool: Pool, wishes: list[tuple[Need, timedelta, int | None]]) -> Pool:
    """Return the pool after each wish took what it was given."""
    for need, length, reservation in wishes:
        found = place(need, pool, now=NOW, until=NOW + length, reservation=reservation)
        if found is not None:
            hold = Hold(
                device=found.device, slots=found.slots, until=found.until, reservation=reservation
            )
            pool = Pool(sizes=pool.sizes, holds=[*pool.holds, hold], seats=pool.seats)
    return pool


wishes = st.lists(st.tuples(needs, minutes, st.none()), max_size=12)


@given(sizes, wishes)
def test_no_device_ever_has_more_holders_than_slots(
    given_sizes: list[Size], asked: list[tuple[Need, timedelta, int | None]]
) -> None:
    free = _filled(Pool(sizes=given_sizes), asked).free_at(NOW)
    assert all(left >= 0 for left in free.values())


@given(sizes, st.data(), wishes)
def test_a_reservation_that_could_be_kept_is_kept_at_every_instant(
    given_sizes: list[Size],
    data: st.DataObject,
    asked: list[tuple[Need, timedelta, int | None]],
) -> None:
    reserved = [data.draw(seats(number)) for number in range(data.draw(st.integers(1, 2)))]
    empty = Pool(sizes=given_sizes, seats=reserved)
    after = _filled(empty, asked)
    for at in [NOW, *(one.starts_at for one in reserved if one.starts_at > NOW)]:
        assert after.keeps_promises(at) or not empty.keeps_promises(at)


@given(sizes, wishes, minutes)
def test_a_lease_gets_a_useful_time_and_no_more_than_it_asked_for(
    given_sizes: list[Size], asked: list[tuple[Need, timedelta, int | None]], length: timedelta
) -> None:
    found = place(Need.SLICE, _filled(Pool(sizes=given_sizes), asked), now=NOW, until=NOW + length)
    if found is not None:
        assert min(SHORTEST, length) <= found.until - NOW <= length


def test_slices_fill_what_is_begun_before_they_break_into_a_whole_gpu() -> None:
    pool = Pool(
        sizes=[Size(device="a", slots=2), Size(device="b", slots=2), Size(device="c", slots=1)],
        holds=[Hold(device="b", slots=1, until=NOW + HOUR)],
    )
    found = place(Need.SLICE, pool, now=NOW, until=NOW + HOUR)
    assert found is not None
    assert found.device == "b"


def test_a_part_of_a_gpu_is_never_given_as_a_whole_one() -> None:
    pool = Pool(sizes=[Size(device="mig", slots=1, is_part=True)])
    assert place(Need.WHOLE, pool, now=NOW, until=NOW + HOUR) is None
    assert place(Need.SLICE, pool, now=NOW, until=NOW + HOUR) is not None


def test_a_lease_ends_when_the_class_that_needs_its_place_begins() -> None:
    sizes_ = [Size(device="a", slots=1), Size(device="b", slots=1)]
    lesson = Seats(id=7, need=Need.WHOLE, count=1, starts_at=NOW + HOUR, ends_at=NOW + 2 * HOUR)
    pool = Pool(sizes=sizes_, seats=[lesson])
    first = place(Need.WHOLE, pool, now=NOW, until=NOW + 4 * HOUR)
    assert first is not None
    assert first.until == NOW + 4 * HOUR, "one of two is enough for the class"
    held = Pool(
        sizes=sizes_,
        seats=[lesson],
        holds=[Hold(device=first.device, slots=1, until=first.until)],
    )
    second = place(Need.WHOLE, held, now=NOW, until=NOW + 4 * HOUR)
    assert second is not None
    assert second.until == lesson.starts_at
    soon = lesson.starts_at - SHORTEST / 2
    assert place(Need.WHOLE, held, now=soon, until=soon + HOUR) is None


def test_during_the_class_its_people_get_the_seats_and_others_do_not() -> None:
    lesson = Seats(id=7, need=Need.SLICE, count=2, starts_at=NOW - HOUR, ends_at=NOW + HOUR)
    pool = Pool(sizes=[Size(device="a", slots=2)], seats=[lesson])
    assert place(Need.SLICE, pool, now=NOW, until=NOW + HOUR) is None
    assert place(Need.SLICE, pool, now=NOW, until=NOW + HOUR, reservation=7) is not None


def test_wholes_and_slices_are_counted_on_the_same_devices() -> None:
    devices = [Size(device="a", slots=4), Size(device="b", slots=1)]
    free = {"a": 4, "b": 1}
    assert fits(devices, free, wholes=1, slices=4)
    assert not fits(devices, free, wholes=2, slices=1)
    assert not fits(devices, {"a": 3, "b": 1}, wholes=2, slices=0)


def test_somebody_who_needs_a_whole_gpu_waits_for_the_one_that_empties_first() -> None:
    pool = Pool(
        sizes=[Size(device="a", slots=2), Size(device="b", slots=2)],
        holds=[
            Hold(device="a", slots=1, until=NOW + 3 * HOUR),
            Hold(device="b", slots=1, until=NOW + 2 * HOUR),
        ],
    )
    assert awaited(pool) == "b"
    assert place(Need.SLICE, pool, now=NOW, until=NOW + HOUR, shut=frozenset({"a", "b"})) is None
    assert awaited(Pool(sizes=[Size(device="m", slots=1, is_part=True)])) is None


# --- quotas ---


def test_a_week_begins_on_monday_where_people_are() -> None:
    assert week_of(datetime(2026, 11, 22, 14, 59, tzinfo=UTC)) == date(2026, 11, 16)
    assert week_of(datetime(2026, 11, 22, 15, 0, tzinfo=UTC)) == date(2026, 11, 23)
    assert week_start(date(2026, 11, 23)) == datetime(2026, 11, 22, 15, 0, tzinfo=UTC)


@given(instants, st.integers(0, 60 * 24 * 30).map(lambda count: timedelta(minutes=count)))
def test_cutting_a_span_at_weeks_loses_no_second(start: datetime, length: timedelta) -> None:
    parts = list(by_week(start, start + length))
    assert sum((end - begin for _, begin, end in parts), timedelta(0)) == length
    for monday, begin, end in parts:
        assert hours_in_week(start, start + length, monday) == pytest.approx(
            hours_between(begin, end)
        )
        assert week_of(begin) == monday


@given(minutes, st.floats(-1, 20), st.floats(0.1, 2))
def test_a_lease_can_use_no_more_than_what_is_left(
    cap: timedelta, left: float, price: float
) -> None:
    until = allowed_until(NOW, cap=cap, hours_left=left, price=price)
    assert NOW <= until <= NOW + cap
    assert price * hours_between(NOW, until) <= max(0.0, left) + 1e-6


def test_what_costs_nothing_is_held_to_its_cap_alone() -> None:
    assert allowed_until(NOW, cap=HOUR, hours_left=0, price=0) == NOW + HOUR


@given(st.floats(0, 100), st.floats(0, 100), minutes)
def test_heavy_users_wait_longer_and_nobody_for_ever(
    mine: float, theirs: float, later: timedelta
) -> None:
    first, second = queue_at(NOW, mine), queue_at(NOW + later, theirs)
    assert first >= NOW
    if later > SET_BACK_PER_HOUR * mine:
        assert first < second, "who comes that much later never goes first"


# --- waiting ---


def test_a_lease_ends_probably_as_past_ones_did() -> None:
    running = Running(device="a", slots=1, started_at=NOW - HOUR, until=NOW + 3 * HOUR)
    hours = [0.5 * 3600, 1.5 * 3600, 2 * 3600, 9 * 3600]
    assert expected_end(running, hours, NOW) == NOW + HOUR
    assert expected_end(running, [60.0], NOW) == running.until, "it has outlasted all of them"
    assert expected_end(running, [99 * 3600.0], NOW) == running.until, "its cap comes first"


def test_the_wait_follows_from_those_ahead_and_what_frees_first() -> None:
    pool = Pool(sizes=[Size(device="a", slots=2), Size(device="b", slots=1)])
    ends = [("a", NOW + HOUR), ("a", NOW + 2 * HOUR), ("b", NOW + 3 * HOUR)]

    def start(ahead: list[Need], need: Need) -> datetime | None:
        return expected_start(ahead, need, pool, ends, now=NOW, length=timedelta(minutes=30))

    assert start([], Need.SLICE) == NOW + HOUR
    assert start([Need.SLICE], Need.SLICE) == NOW + 1.5 * HOUR
    assert start([], Need.WHOLE) == NOW + 2 * HOUR
    assert start([Need.WHOLE], Need.WHOLE) == NOW + 2.5 * HOUR
    parts = Pool(sizes=[Size(device="m", slots=1, is_part=True)])
    assert expected_start([], Need.WHOLE, parts, [], now=NOW, length=HOUR) is None
    assert expected_start([], Need.SLICE, Pool(sizes=[]), [], now=NOW, length=HOUR) is None


@given(sizes, st.lists(needs, max_size=6), needs, st.lists(instants, max_size=6))
def test_more_people_ahead_never_shorten_the_wait(
    given_sizes: list[Size], ahead: list[Need], need: Need, ends: list[datetime]
) -> None:
    pool = Pool(sizes=given_sizes)
    held = [(given_sizes[number % len(given_sizes)].device, at) for number, at in enumerate(ends)]
    short = expected_start([], need, pool, held, now=NOW, length=HOUR)
    long = expected_start(ahead, need, pool, held, now=NOW, length=HOUR)
    assert (short is None) == (long is None)
    if short is not None and long is not None:
        assert NOW <= short <= long


# --- ends ---


def test_a_lease_ends_by_idleness_or_at_its_cap_whichever_is_first() -> None:
    idle = timedelta(minutes=15)
    assert next_end(NOW + HOUR, NOW, idle).cause is Cause.IDLE
    assert next_end(NOW + HOUR, NOW, idle).at == NOW + idle
    assert next_end(NOW + HOUR, NOW + HOUR, idle).cause is Cause.CAP


def test_a_pause_for_thought_is_no_waste() -> None:
    minute = timedelta(minutes=1)
    assert idle_gap(NOW, NOW + minute / 2, least=minute) == 0
    assert idle_gap(NOW, NOW + 5 * minute, least=minute) == 300


def test_use_over_time_is_the_mean_of_what_was_held() -> None:
    spans = [
        (NOW - HOUR, NOW + 0.5 * HOUR, 1.0),
        (NOW + HOUR, NOW + 3 * HOUR, 2.0),
        (NOW + 9 * HOUR, NOW + 10 * HOUR, 5.0),
    ]
    assert in_use(spans, NOW, HOUR, 3) == [0.5, 2.0, 2.0]


@given(st.lists(st.tuples(instants, minutes), max_size=5))
def test_use_over_time_adds_up_to_the_hours_held(drawn: list[tuple[datetime, timedelta]]) -> None:
    start = NOW - timedelta(hours=3)
    spans = [(begin, begin + length, 1.0) for begin, length in drawn]
    assert sum(in_use(spans, start, HOUR, 24)) == pytest.approx(
        sum(hours_between(begin, end) for begin, end, _ in spans)
    )
