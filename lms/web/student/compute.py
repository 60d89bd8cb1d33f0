"""My compute: what a person holds and waits for, the hours left, and what they used before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.compute import bookings, figures, ledger, service, waiting, words
from lms.compute.errors import NoSuchProfileError, ProfileForbiddenError
from lms.compute.models import Lease, Reservation
from lms.compute.profiles import ServerSize, server_sizes, terms, title_of
from lms.compute.queue import read_pool
from lms.compute.rules import Cause, LeaseState, week_of, week_start
from lms.compute.waiting import Standing
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import ConflictError
from lms.identity.models import Person
from lms.outposts.hub.profiles import is_open_to
from lms.protocol.sentences import Sentence
from lms.web.access import current_actor, current_person, signed_in
from lms.web.charts import Chart, day_bars
from lms.web.database import session, transaction
from lms.web.dates import here, minutes
from lms.web.i18n import gettext
from lms.web.launch import check_hub
from lms.web.parts import State
from lms.web.system import current_system, now

bp = Blueprint("compute", __name__)

#: How many days the plot shows, and how many past leases the list has.
DAYS, PAST = 28, 8
#: From so many hours on nobody wants to know the minutes.
_FEW = 3

#: The titles of courses by their offerings' ids.
Titles = Mapping[int, Bilingual]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """An open lease; `standing` is set while it waits."""

    id: str
    #: The profile's key.
    key: str
    profile: Bilingual
    course: Bilingual | None
    state: State
    is_simulated: bool
    #: Whether it waits for its person to restart the kernel on it.
    is_ready: bool
    #: What is left of it, as people say it.
    left: str
    until: datetime | None
    devices: tuple[str, ...]
    standing: Standing | None
    wait: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The hours of one course this week."""

    course: Bilingual | None
    used: float
    allowed: float

    @property
    def left(self) -> float:
        """Hours that can still be used."""
        return max(0.0, self.allowed - self.used)

    @property
    def percent(self) -> int:
        """The used share, 0 to 100."""
        return min(100, round(100 * self.used / self.allowed)) if self.allowed else 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRow:
    """A lease that is over."""

    profile: Bilingual
    ended_at: datetime
    why: Sentence
    hours: float
    given_back: float
    is_simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputePage:
    """What student/compute.html draws."""

    leases: tuple[LeaseRow, ...]
    booking: Reservation | None
    quotas: tuple[Quota, ...]
    renews_at: datetime
    sizes: tuple[ServerSize, ...]
    #: Keys of sizes whose GPU this machine has not.
    missing: frozenset[str]
    #: By GPU profile: how long one probably waits for it; empty when it is free.
    waits: Mapping[str, str]
    #: By GPU profile for how long the hours that are left last, unless longer than the week.
    enough: Mapping[str, str]
    hub_url: str
    reason: Sentence | None
    has_gpus: bool
    is_simulated: bool
    chart: Chart | None
    past: tuple[PastRow, ...]

    @property
    def is_used_up(self) -> bool:
        """Say whether no course has hours left for the person."""
        return not any(one.left for one in self.quotas)

    @property
    def titles(self) -> Mapping[str, Bilingual]:
        """The sizes' titles by their keys."""
        return {one.key: one.title for one in self.sizes}

    @property
    def usual(self) -> str:
        """The key of the first size without a GPU: a link to it opens a server as it is."""
        return next((one.key for one in self.sizes if one.gpu is None), "")

    @property
    def is_moving(self) -> bool:
        """Say whether the page changes by itself."""
        return bool(self.leases)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPage:
    """What student/compute_start.html says: this machine has no GPU for that size."""

    size: ServerSize
    reason: Sentence | None
    instead: tuple[ServerSize, ...]


@bp.get("/compute")
@signed_in
def show() -> ResponseReturnValue:
    """Show what the person holds, waits for, has left and used."""
    return render_template(
        "student/compute.html", page=make_page(session(), current_person(), now())
    )


@bp.get("/compute/start/<profile>")
@signed_in
def start(profile: str) -> ResponseReturnValue:
    """Lead to a server of a size; where its GPU is missing say so, and offer the CPU."""
    sizes = {one.key: one for one in server_sizes()}
    if profile not in sizes:
        raise NoSuchProfileError(profile)
    size = sizes[profile]
    if not is_open_to(service.groups_of(session(), current_actor()), size.groups):
        raise ProfileForbiddenError
    if _missing(session(), [size]):
        page = StartPage(
            size=size,
            reason=service.no_devices_reason(session()),
            instead=tuple(one for one in _open_sizes(session()) if one.gpu is None),
        )
        return render_template("student/compute_start.html", page=page), 409
    current_app.extensions.get("lms_hub_check", check_hub)(current_system().settings)
    return redirect(
        f"{current_system().settings.hub_url}/hub/spawn?{urlencode({'opt-profile': profile})}"
    )


def _missing(database: Session, sizes: Iterable[ServerSize]) -> frozenset[str]:
    """Return the keys of sizes whose GPU nothing in this machine can ever be given as."""
    there = read_pool(database, now=now()).sizes
    return frozenset(
        one.key
        for one in sizes
        if one.gpu is not None and not service.can_ever_hold(one.gpu.need, there)
    )


@bp.post("/compute/<lease_id>/end")
@signed_in
def end(lease_id: str) -> ResponseReturnValue:
    """Give a lease back, or no longer wish for it."""
    with transaction() as database:
        lease = service.get_lease(database, lease_id, actor=current_actor())
        waited = lease.state == LeaseState.WAITING
        service.give_up(database, lease_id, actor=current_actor(), now=now())
    flash(
        gettext("You no longer wait.") if waited else gettext("The GPU is given back. Thank you."),
        "ok",
    )
    return redirect("/compute")


@bp.post("/compute/bookings")
@signed_in
def book() -> ResponseReturnValue:
    """Book the next free hour of a size, in place of the one booked before."""
    profile = terms().get(request.form.get("profile", ""))
    with transaction() as database:
        service.require_profile(database, profile, actor=current_actor())
        slot = bookings.find_slot(database, profile.need, now=now())
        if slot is None:
            raise ConflictError(waiting.NOTHING_TO_BOOK)
        bookings.book(database, slot, actor=current_actor(), now=now())
    flash(gettext("The hour is booked. Start your kernel then, and you go first."), "ok")
    return redirect("/compute")


@bp.post("/compute/bookings/<int:booking>/cancel")
@signed_in
def cancel(booking: int) -> ResponseReturnValue:
    """Give a booked hour back."""
    with transaction() as database:
        bookings.cancel(database, booking, actor=current_actor(), now=now())
    flash(gettext("The booking is cancelled."), "ok")
    return redirect("/compute")


def make_page(database: Session, person: Person, at: datetime) -> ComputePage:
    """Return the page of `person`."""
    mine = service.list_own(database, person.id)
    places = _places(mine)
    titles = catalogue.list_offering_titles(
        database,
        {one for one in (*places, *(lease.offering_id for lease in mine)) if one is not None},
    )
    devices = figures.list_devices(database)
    quotas = tuple(_quotas(database, person, places, titles, at))
    sizes = _open_sizes(database)
    return ComputePage(
        leases=tuple(_row(database, one, titles, at) for one in mine),
        booking=next(
            (
                one
                for one in bookings.list_upcoming(database, None, now=at)
                if one.person_id == person.id
            ),
            None,
        ),
        quotas=quotas,
        renews_at=week_start(week_of(at) + timedelta(days=7)),
        sizes=sizes,
        missing=_missing(database, sizes),
        waits=_waits(database, at) if devices else {},
        enough=_enough(max((one.left for one in quotas), default=0.0), at),
        hub_url=current_system().settings.hub_url,
        reason=service.no_devices_reason(database),
        has_gpus=bool(devices),
        is_simulated=bool(devices) and all(one.device.simulated for one in devices),
        chart=_chart(database, person, at),
        past=tuple(_past(database, person)),
    )


def _row(database: Session, lease: Lease, titles: Titles, at: datetime) -> LeaseRow:
    held = lease.state == LeaseState.GRANTED
    place = None if held else waiting.standing(database, lease, terms=terms(), now=at)
    left = max(0, round((lease.until - at).total_seconds() / 60)) if lease.until else 0
    return LeaseRow(
        id=lease.id,
        key=lease.profile,
        profile=title_of(lease.profile),
        course=titles.get(lease.offering_id or 0),
        state=state_of_lease(lease),
        is_simulated=lease.simulated,
        is_ready=held and lease.started_at is not None and lease.kernel_at is None,
        left=minutes(left),
        until=lease.until,
        devices=tuple(lease.devices),
        standing=place,
        wait=_wait(place),
    )


def _wait(place: Standing | None) -> str:
    if place is None or place.expected_wait_seconds is None:
        return ""
    return minutes(max(1, round(place.expected_wait_seconds / 60)))


def _open_sizes(database: Session) -> tuple[ServerSize, ...]:
    """Return the sizes that the person may have."""
    groups = service.groups_of(database, current_actor())
    return tuple(one for one in server_sizes() if is_open_to(groups, one.groups))


def _waits(database: Session, at: datetime) -> dict[str, str]:
    waits = {}
    for key, profile in terms().profiles.items():
        seconds = waiting.expected_wait(database, profile, now=at)
        if seconds is not None:
            waits[key] = minutes(max(1, round(seconds / 60))) if seconds else ""
    return waits


def _enough(hours: float, at: datetime) -> dict[str, str]:
    """Return for how long `hours` of quota last, by profile; nothing where the week ends sooner."""
    week = (week_start(week_of(at) + timedelta(days=7)) - at) / timedelta(hours=1)
    lasting = {key: hours / one.price for key, one in terms().profiles.items()}
    return {
        # Minutes count for people who have few.
        key: minutes(60 * int(left) if left >= _FEW else int(60 * left))
        for key, left in lasting.items()
        if 1 / 60 <= left < week
    }


def state_of_lease(lease: Lease) -> State:
    """Return the state to draw for an open lease."""
    if lease.state == LeaseState.WAITING:
        return State("clock", "wait", words.WAITS)
    if lease.started_at is None:
        return State("turn", "live", words.PREPARED)
    if lease.kernel_at is None:
        return State("clock", "wait", words.READY)
    return State("chip", "ok", words.HOLDS)


def _places(mine: Iterable[Lease]) -> list[int | None]:
    """Return the offerings whose hours the person has; None for the hours of no course."""
    actor = current_actor()
    places: list[int | None] = [
        *sorted(one for one in actor.roles if actor.may("compute:use", one))
    ]
    if not places or any(one.offering_id is None for one in mine):
        places.append(None)
    return places


def _quotas(
    database: Session,
    person: Person,
    places: Iterable[int | None],
    titles: Titles,
    at: datetime,
) -> Iterable[Quota]:
    weeks = ledger.weeks(database, terms(), person.id, tuple(places), now=at)
    for offering_id, (used, allowed) in weeks.items():
        yield Quota(course=titles.get(offering_id or 0), used=max(0.0, used), allowed=allowed)


def _chart(database: Session, person: Person, at: datetime) -> Chart | None:
    today = here(at).date()
    first = today - timedelta(days=DAYS - 1)
    by_day = figures.hours_by_day(database, person.id, first=first)
    if not by_day:
        return None
    days = [
        (first + timedelta(days=index), by_day.get(first + timedelta(days=index), 0.0))
        for index in range(DAYS)
    ]
    spoken = gettext(
        "GPU-hours a day over four weeks: %(total)s in all, on %(days)s days.",
        total=f"{sum(value for _, value in days):.1f}",
        days=sum(value > 0 for _, value in days),
    )
    return day_bars(days, unit=gettext("GPU-hours"), spoken=spoken)


def _past(database: Session, person: Person) -> Iterable[PastRow]:
    ended = figures.list_ended(database, person.id, limit=PAST)
    hours = figures.hours_of(database, [one.id for one in ended])
    for one in ended:
        used, back = hours.get(one.id, (0.0, 0.0))
        if one.ended_at is not None:
            yield PastRow(
                profile=title_of(one.profile),
                ended_at=one.ended_at,
                why=words.ended(Cause(one.cause or Cause.PERSON)),
                hours=used,
                given_back=back,
                is_simulated=one.simulated,
            )
