"""Decisions of compute from values alone: placing, reservations, quotas, order, waiting."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

#: Whose Monday begins a week of quota.
ZONE = ZoneInfo("Asia/Seoul")
#: Each GPU-hour used this week puts a wish back by this much: a heavy user's wish is passed by
#: those asked for a little later, and by no others, so nobody waits for ever.
SET_BACK_PER_HOUR = timedelta(minutes=10)
#: A shorter time on a GPU than this is not worth giving.
SHORTEST = timedelta(minutes=10)
#: How long before an end the notebook is warned.
WARNING = timedelta(minutes=3)


class Need(StrEnum):
    """How much of a device a profile takes."""

    WHOLE = "whole"
    SLICE = "slice"


class LeaseState(StrEnum):
    """Where a lease stands."""

    WAITING = "waiting"
    GRANTED = "granted"
    ENDED = "ended"


class Cause(StrEnum):
    """Why a lease ended."""

    #: The person gave it back, or no longer wished for it.
    PERSON = "person"
    OPERATOR = "operator"
    IDLE = "idle"
    CAP = "cap"
    #: No kernel ever started under it, or nobody asked after the wish any more.
    UNUSED = "unused"
    #: Its kernel ended by itself.
    KERNEL = "kernel"
    #: Its kernel was taken away without anybody's asking.
    LOST = "lost"
    #: The broker forgot it or stopped answering.
    BROKER = "broker"
    #: Its device has gone.
    DEVICE = "device"


#: Ends that are our own fault: the hours are given back.
OURS = frozenset({Cause.LOST, Cause.BROKER, Cause.DEVICE})


class Entry(StrEnum):
    """What a line of the ledger is."""

    USED = "used"
    REFUNDED = "refunded"


# --- devices, and what holds them ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A device's size: how many slots it has, and whether it is only a part of a GPU."""

    device: str
    slots: int
    is_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Slots that a lease holds on a device until a time at the latest."""

    device: str
    slots: int
    until: datetime
    reservation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """A reservation: so many devices or slots are kept for its people in its time."""

    id: int
    need: Need
    count: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Every device, what holds it, and what is reserved."""

    sizes: Sequence[Size]
    holds: Sequence[Hold] = ()
    seats: Sequence[Seats] = ()

    def free_at(self, at: datetime) -> dict[str, int]:
        """Return the free slots of each device at `at`, if nothing ends early or is added."""
        free = {size.device: size.slots for size in self.sizes}
        for hold in self.holds:
            if hold.until > at and hold.device in free:
                free[hold.device] -= hold.slots
        return free

    def held_of(self, reservation: int, at: datetime) -> int:
        """Return how many of a reservation's seats are taken at `at`."""
        return sum(hold.reservation == reservation and hold.until > at for hold in self.holds)

    def keeps_promises(self, at: datetime) -> bool:
        """Say whether all seats reserved for `at` that are not yet taken could be given then."""
        wholes = slices = 0
        for one in self.seats:
            if one.starts_at <= at < one.ends_at:
                left = max(0, one.count - self.held_of(one.id, at))
                wholes += left if one.need is Need.WHOLE else 0
                slices += left if one.need is Need.SLICE else 0
        return fits(self.sizes, self.free_at(at), wholes=wholes, slices=slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a lease goes and how long it may stay."""

    device: str
    slots: int
    until: datetime


def fits(sizes: Sequence[Size], free: Mapping[str, int], *, wholes: int, slices: int) -> bool:
    """Say whether so many whole devices and slots can be given out of what is free."""
    untouched = sorted(
        size.slots for size in sizes if not size.is_part and free[size.device] == size.slots
    )
    if len(untouched) < wholes:
        return False
    return sum(max(0, left) for left in free.values()) - sum(untouched[:wholes]) >= slices


def candidates(need: Need, sizes: Sequence[Size], free: Mapping[str, int]) -> list[Size]:
    """Return the devices that can take `need`, the one whose loss hurts least first.

    Slices fill up what is begun, and parts of GPUs, before they break into an untouched device.
    """

    def hurt(size: Size) -> tuple[bool, bool, int, str]:
        untouched = free[size.device] == size.slots and not size.is_part
        return untouched, untouched and size.slots == 1, free[size.device], size.device

    if need is Need.WHOLE:
        whole = [s for s in sizes if not s.is_part and free[s.device] == s.slots]
        return sorted(whole, key=lambda size: (size.slots, size.device))
    return sorted((size for size in sizes if free[size.device] > 0), key=hurt)


def place(
    need: Need,
    pool: Pool,
    *,
    now: datetime,
    until: datetime,
    reservation: int | None = None,
    shut: frozenset[str] = frozenset(),
) -> Placement | None:
    """Return where the lease can go now, and until when; None when it has to wait.

    A lease ends before the start of a reservation that needs its place. `shut` devices are left
    alone: somebody who came earlier waits for them.
    """
    sizes = [size for size in pool.sizes if size.device not in shut]
    for size in candidates(need, sizes, pool.free_at(now)):
        slots = size.slots if need is Need.WHOLE else 1
        hold = Hold(device=size.device, slots=slots, until=until, reservation=reservation)
        end = _promised_end(pool, hold, now)
        if end is not None and end - now >= min(SHORTEST, until - now):
            return Placement(device=size.device, slots=slots, until=end)
    return None


def _promised_end(pool: Pool, hold: Hold, now: datetime) -> datetime | None:
    """Return until when `hold` breaks no reservation; None if it breaks one at once."""
    tried = replace(pool, holds=[*pool.holds, hold])
    if not tried.keeps_promises(now):
        return None
    starts = sorted({one.starts_at for one in pool.seats if now < one.starts_at < hold.until})
    for at in starts:
        # What is broken without this lease too is no reason to turn it out.
        if not tried.keeps_promises(at) and pool.keeps_promises(at):
            return at
    return hold.until


def awaited(pool: Pool) -> str | None:
    """Return the device that somebody who needs a whole one will get first."""
    ends = {
        size.device: datetime.min.replace(tzinfo=ZONE) for size in pool.sizes if not size.is_part
    }
    for hold in pool.holds:
        if hold.device in ends:
            ends[hold.device] = max(ends[hold.device], hold.until)
    return min(ends, key=lambda device: (ends[device], device), default=None)


# --- quotas ---


def week_of(at: datetime) -> date:
    """Return the Monday of the week of quota that `at` lies in."""
    day = at.astimezone(ZONE).date()
    return day - timedelta(days=day.weekday())


def week_start(monday: date) -> datetime:
    """Return the instant at which the week begins."""
    return datetime(monday.year, monday.month, monday.day, tzinfo=ZONE)


def by_week(starts_at: datetime, ends_at: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    """Cut a span at the weeks' borders; yields each week with its part of the span."""
    at = starts_at
    while at < ends_at:
        monday = week_of(at)
        border = min(ends_at, week_start(monday + timedelta(days=7)))
        yield monday, at, border
        at = border


def hours_between(starts_at: datetime, ends_at: datetime) -> float:
    """Return the hours from one instant to another, none if they are the other way round."""
    return max(0.0, (ends_at - starts_at).total_seconds() / 3600)


def hours_in_week(starts_at: datetime, ends_at: datetime, monday: date) -> float:
    """Return how many hours of a span lie in the week."""
    start = week_start(monday)
    return hours_between(max(starts_at, start), min(ends_at, start + timedelta(days=7)))


def allowed_until(now: datetime, *, cap: timedelta, hours_left: float, price: float) -> datetime:
    """Return when a lease granted now must end: at its cap, or when the quota is used up."""
    if price <= 0:
        return now + cap
    return now + min(cap, timedelta(hours=max(0.0, hours_left) / price))


def queue_at(requested_at: datetime, used_hours: float) -> datetime:
    """Return the place in the queue of a wish by somebody who used so much this week."""
    return requested_at + SET_BACK_PER_HOUR * max(0.0, used_hours)


# --- waiting ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A granted lease, for telling when its place will be free."""

    device: str
    slots: int
    started_at: datetime
    until: datetime


def expected_end(running: Running, lengths: Sequence[float], now: datetime) -> datetime:
    """Return when a lease will probably end: as past ones did that had lasted as long; or its cap.

    `lengths` are the durations of past leases in seconds.
    """
    elapsed = (now - running.started_at).total_seconds()
    longer = sorted(length for length in lengths if length > elapsed)
    if not longer:
        return max(now, running.until)
    typical = running.started_at + timedelta(seconds=longer[len(longer) // 2])
    return max(now, min(running.until, typical))


def expected_start(
    ahead: Sequence[Need],
    need: Need,
    pool: Pool,
    ends: Iterable[tuple[str, datetime]],
    *,
    now: datetime,
    length: timedelta,
) -> datetime | None:
    """Return when a wish behind `ahead` will probably be granted; None if no device can take it.

    `ends` are the probable ends of what holds a slot now, one entry a slot; each wish ahead is
    taken to last `length`.
    """  # fmt: skip
    line = _Line.of(pool, ends, now)
    for one in ahead:
        line.take(one, length)
    return line.take(need, length)


@dataclass(slots=True)
class _Line:
    """When each slot becomes free; wishes take them in turn."""

    slots: dict[str, list[datetime]]
    whole: frozenset[str]

    @classmethod
    def of(cls, pool: Pool, ends: Iterable[tuple[str, datetime]], now: datetime) -> "_Line":
        slots = {size.device: [now] * size.slots for size in pool.sizes}
        taken = dict.fromkeys(slots, 0)
        for device, end in ends:
            if taken.get(device, 0) < len(slots.get(device, ())):
                slots[device][taken[device]] = max(now, end)
                taken[device] += 1
        for times in slots.values():
            heapq.heapify(times)
        return cls(slots, frozenset(s.device for s in pool.sizes if not s.is_part))

    def take(self, need: Need, length: timedelta) -> datetime | None:
        """Take the first place that `need` can have and return when that is."""
        if need is Need.WHOLE:
            device = min(self.whole, key=lambda key: (max(self.slots[key]), key), default=None)
        else:
            device = min(self.slots, key=lambda key: (self.slots[key][0], key), default=None)
        if device is None:
            return None
        times = self.slots[device]
        if need is Need.WHOLE:
            start = max(times)
            times[:] = [start + length] * len(times)
            return start
        return heapq.heapreplace(times, times[0] + length)


# --- ends ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When a lease ends if nothing changes, and why."""

    at: datetime
    cause: Cause = field(default=Cause.CAP)


def next_end(until: datetime, busy_at: datetime, idle_allowed: timedelta) -> Ending:
    """Return when a granted lease ends if its kernel computes no more."""
    idle = busy_at + idle_allowed
    return Ending(at=idle, cause=Cause.IDLE) if idle < until else Ending(at=until)


def idle_gap(busy_at: datetime, later: datetime, *, least: timedelta) -> float:
    """Return the seconds between two signs of computing, none when that is only a pause."""
    gap = later - busy_at
    return gap.total_seconds() if gap >= least else 0.0


def in_use(
    spans: Iterable[tuple[datetime, datetime, float]], start: datetime, step: timedelta, count: int
) -> list[float]:
    """Return the mean of the spans' weights over each of `count` steps from `start`."""
    sums = [0.0] * count
    for begins, ends, weight in spans:
        first = max(0, int((begins - start) / step))
        for index in range(first, count):
            low, high = start + step * index, start + step * (index + 1)
            if low >= ends:
                break
            sums[index] += weight * max(timedelta(0), min(high, ends) - max(low, begins)) / step
    return sums
