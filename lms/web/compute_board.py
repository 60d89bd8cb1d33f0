"""The GPU board: for operators the whole machine, for instructors their offering's part."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, flash, redirect, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering
from lms.compute import bookings, figures, hours_requests, service
from lms.compute.figures import DeviceUse, Hours, OpenLease
from lms.compute.ledger import PAUSE
from lms.compute.models import Reservation
from lms.compute.profiles import terms, title_of
from lms.compute.rules import LeaseState, Need
from lms.foundation.bilingual import Bilingual
from lms.identity.models import Person
from lms.protocol.sentences import Sentence
from lms.web.access import admin_only, current_actor, signed_in
from lms.web.charts import Chart, Limit, steps_and_line
from lms.web.database import session, transaction
from lms.web.dates import minutes
from lms.web.i18n import gettext, ngettext
from lms.web.parts import Cell, Cells
from lms.web.system import now

bp = Blueprint("compute_board", __name__)

#: What the plot covers: a week in steps of three hours.
STEP, STEPS = timedelta(hours=3), 56
WEEK = timedelta(days=7)
#: How many of the queue stand open on the page, and how many courses are named as the most idle.
SHOWN, COURSES = 12, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device and its slots as cells."""

    use: DeviceUse
    cells: Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRow:
    """Somebody who holds or waits."""

    id: str
    person: str
    username: str
    course: Bilingual | None
    profile: Bilingual
    devices: tuple[str, ...]
    since: datetime
    #: How long ago that is, as people say it.
    ago: str
    until: datetime | None
    idle_minutes: int

    @property
    def idle(self) -> str:
        """How long nothing was computed, as people say it; empty when it computes."""
        return minutes(self.idle_minutes) if self.idle_minutes else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Seats kept for a class or booked by one person."""

    reservation: Reservation
    course: Bilingual | None
    size: Bilingual


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """What was held for nothing in a course in the last week."""

    course: Bilingual | None
    hours: Hours

    @property
    def percent(self) -> int:
        """The idle share, 0 to 100."""
        return _percent(self.hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPage:
    """What admin/compute.html draws."""

    #: None for the whole machine.
    offering: Offering | None
    may_end: bool
    devices: tuple[DeviceRow, ...]
    reason: Sentence | None
    is_simulated: bool
    holders: tuple[BoardRow, ...]
    waiting: tuple[BoardRow, ...]
    reservations: tuple[Kept, ...]
    week: Hours
    waste: tuple[Waste, ...]
    #: How many offerings wait for an answer to a request for hours.
    asked: int
    chart: Chart

    @property
    def is_quiet(self) -> bool:
        """Say whether the plot would be empty."""
        return all(one.is_empty for one in self.chart.drawings)

    @property
    def held(self) -> tuple[int, int]:
        """How many slots are held, and how many there are."""
        return sum(one.use.held for one in self.devices), sum(one.use.slots for one in self.devices)

    @property
    def idle(self) -> int:
        """How many hold a GPU and compute nothing."""
        return sum(bool(one.idle_minutes) for one in self.holders)

    @property
    def longest(self) -> str:
        """How long the first wish has waited, as people say it."""
        first = min(self.waiting, key=lambda one: one.since, default=None)
        return "" if first is None else first.ago

    @property
    def percent(self) -> int:
        """The idle share of the week's hours, 0 to 100."""
        return _percent(self.week)

    @property
    def next_in_line(self) -> tuple[BoardRow, ...]:
        """The wishes that stand open on the page."""
        return self.waiting[:SHOWN]

    @property
    def further_back(self) -> tuple[BoardRow, ...]:
        """The wishes behind those."""
        return self.waiting[SHOWN:]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndPage:
    """What admin/compute_end.html asks."""

    row: BoardRow


@bp.get("/admin/compute")
@admin_only("compute:manage")
def show() -> ResponseReturnValue:
    """Show the whole machine."""
    return render_template("admin/compute.html", page=make_board(session(), None, now()))


@bp.get("/teach/<offering_key>/compute")
@signed_in
def show_offering(offering_key: str) -> ResponseReturnValue:
    """Show who of an offering holds what."""
    offering = catalogue.get_offering(session(), offering_key)
    current_actor().require("compute:read", offering.id)
    return render_template("admin/compute.html", page=make_board(session(), offering, now()))


@bp.get("/admin/compute/leases/<lease_id>")
@admin_only("compute:manage")
def confirm(lease_id: str) -> ResponseReturnValue:
    """Ask before a lease is ended."""
    lease = service.get_lease(session(), lease_id, actor=current_actor())
    person = session().get_one(Person, lease.person_id)
    one = OpenLease(lease=lease, person=person, offering=None)
    return render_template("admin/compute_end.html", page=EndPage(row=_row(one, now())))


@bp.post("/admin/compute/leases/<lease_id>/end")
@admin_only("compute:manage")
def end(lease_id: str) -> ResponseReturnValue:
    """End a lease; the next in the queue gets its place."""
    with transaction() as database:
        service.give_up(database, lease_id, actor=current_actor(), now=now())
    flash(gettext("The lease has ended; the next in the queue is served."), "ok")
    return redirect("/admin/compute")


def make_board(database: Session, offering: Offering | None, at: datetime) -> BoardPage:
    """Return the board of an offering, or of the whole machine."""
    scope = None if offering is None else [offering.id]
    found = figures.list_open(database, scope)
    devices = figures.list_devices(database)
    kept = bookings.list_upcoming(database, scope, now=at)
    wasted = figures.idle_by_offering(database, since=at - WEEK) if offering is None else []
    titles = catalogue.list_offering_titles(
        database, {one for one in (*(a.offering_id for a in kept), *(b for b, _ in wasted)) if one}
    )
    holders = [_row(one, at) for one in found if one.lease.state == LeaseState.GRANTED]
    return BoardPage(
        offering=offering,
        may_end=offering is None,
        devices=tuple(map(_device, devices)),
        reason=service.no_devices_reason(database),
        is_simulated=bool(devices) and all(one.device.simulated for one in devices),
        # Who holds a GPU for nothing stands first: that is what one looks for.
        holders=tuple(sorted(holders, key=lambda one: -one.idle_minutes)),
        waiting=tuple(_row(one, at) for one in found if one.lease.state == LeaseState.WAITING),
        reservations=tuple(
            Kept(
                reservation=one,
                course=titles.get(one.offering_id or 0),
                size=_size(Need(one.need)),
            )
            for one in kept
        ),
        week=figures.hours(database, scope, since=at - WEEK),
        waste=tuple(
            Waste(course=titles.get(place or 0), hours=hours)
            for place, hours in wasted[:COURSES]
            if hours.idle
        ),
        asked=hours_requests.count_open(database) if offering is None else 0,
        chart=_chart(database, scope, len(devices), at),
    )


def _size(need: Need) -> Bilingual:
    """Return what people call a size: the title of the first profile of it."""
    named = terms().of_need(need)
    return named[0].title if named else Bilingual(ko=need, en=need)


def _percent(hours: Hours) -> int:
    return min(100, round(100 * hours.idle / hours.used)) if hours.used else 0


def _device(one: DeviceUse) -> DeviceRow:
    cells = tuple(
        Cell(str(number + 1), "full" if number < one.held else "", 100)
        for number in range(one.slots)
    )
    spoken = gettext("%(held)s of %(all)s in use", held=one.held, all=one.slots)
    return DeviceRow(use=one, cells=Cells(cells=cells, spoken=spoken))


def _row(one: OpenLease, at: datetime) -> BoardRow:
    lease = one.lease
    held = lease.state == LeaseState.GRANTED
    since = (lease.granted_at if held else None) or lease.requested_at
    idle = at - lease.busy_at if held and lease.busy_at is not None else timedelta(0)
    return BoardRow(
        id=lease.id,
        person=one.person.display_name,
        username=one.person.username,
        course=None if one.offering is None else one.offering.course.title,
        profile=title_of(lease.profile),
        devices=tuple(lease.devices),
        since=since,
        ago=minutes(max(1, int((at - since).total_seconds() // 60))),
        until=lease.until,
        idle_minutes=int(idle / timedelta(minutes=1)) if idle >= PAUSE else 0,
    )


def _chart(database: Session, scope: figures.Scope, devices: int, at: datetime) -> Chart:
    start = at - STEPS * STEP
    series = figures.use_over_time(database, scope, start=start, step=STEP, count=STEPS, now=at)
    idle = [min(pair) for pair in zip(series.idle, series.used, strict=True)]
    spoken = gettext(
        "Over seven days %(mean)s of %(all)s GPUs were in use on average, %(idle)s of them idle; "
        "at most %(most)s people waited.",
        mean=f"{sum(series.used) / STEPS:.1f}",
        all=devices,
        idle=f"{sum(idle) / STEPS:.1f}",
        most=f"{max(series.waiting):.1f}".removesuffix(".0"),
    )
    worked = [used - waste for used, waste in zip(series.used, idle, strict=True)]
    return steps_and_line(
        start,
        STEP,
        (("mine", worked), ("idle", idle)),
        series.waiting,
        limit=Limit(value=devices, words=ngettext("%(num)s GPU", "%(num)s GPUs", devices))
        if devices
        else None,
        unit=gettext("GPUs and people"),
        spoken=spoken,
    )
