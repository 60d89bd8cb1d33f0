"""Seats for a class: an instructor asks for them, sees what stands in the way, gives them back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering
from lms.compute import bookings, seats
from lms.compute.bookings import Slot
from lms.compute.models import Reservation
from lms.compute.profiles import GpuProfile, terms
from lms.compute.queue import read_pool
from lms.compute.rules import ZONE
from lms.compute.seats import Promise
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import ConflictError, NotFoundError
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.dates import here
from lms.web.i18n import gettext, ngettext
from lms.web.system import now

bp = Blueprint("seats", __name__)

#: A term and a half; who teaches longer asks again.
MOST_WEEKS = 26
_WEEK = timedelta(days=7)
_FIELDS = ("date", "start", "end", "seats", "profile", "weeks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One lesson of those asked for."""

    slot: Slot
    problem: Sentence | None
    #: What others keep meanwhile: how many seats, and for which course.
    beside: tuple[tuple[int, Bilingual | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatsPage:
    """What instructor/seats.html draws."""

    offering: Offering
    typed: Mapping[str, str]
    errors: Mapping[str, Sentence]
    profiles: tuple[GpuProfile, ...]
    promise: Promise
    kept: float
    weeks: tuple[Week, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Say whether every week can be kept."""
        return bool(self.weeks) and all(one.problem is None for one in self.weeks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPage:
    """What instructor/seats_cancel.html asks."""

    offering: Offering
    reservation: Reservation


@dataclass(slots=True)
class _Wish:
    """The form as values; what is wrong in it stands in `errors`."""

    typed: Mapping[str, str]
    errors: dict[str, Sentence] = field(default_factory=dict)

    def slots(self) -> list[Slot]:
        """Return the lessons; none when the form has errors."""
        day = self._day()
        start, end = self._time("start"), self._time("end")
        count, weeks = self._number("seats", 10_000), self._number("weeks", MOST_WEEKS)
        profile = terms().profiles.get(self.typed["profile"])
        if profile is None:
            self.errors["profile"] = sentence("Choose one of the profiles.")
        if self.errors or day is None or start is None or end is None or profile is None:
            return []
        if end <= start:
            self.errors["end"] = sentence("The class must end after it has begun.")
            return []
        return [
            Slot(
                need=profile.need,
                seats=count,
                starts_at=_instant(day + week * _WEEK, start),
                ends_at=_instant(day + week * _WEEK, end),
            )
            for week in range(weeks)
        ]

    def _day(self) -> date | None:
        try:
            return date.fromisoformat(self.typed["date"])
        except ValueError:
            self.errors["date"] = sentence("Write the day as 2026-11-26.")
            return None

    def _time(self, name: str) -> time | None:
        try:
            return time.fromisoformat(self.typed[name]).replace(tzinfo=None)
        except ValueError:
            self.errors[name] = sentence("Write the time as 14:00.")
            return None

    def _number(self, name: str, most: int) -> int:
        text = self.typed[name]
        if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most:
            return int(text)
        self.errors[name] = sentence("Write a number from 1 to %(most)s.", most=most)
        return 0


def _instant(day: date, at: time) -> datetime:
    return datetime.combine(day, at, tzinfo=ZONE).astimezone(UTC)


@bp.get("/teach/<offering_key>/compute/reserve")
@signed_in
def ask(offering_key: str) -> ResponseReturnValue:
    """Show the form, and what would become of what it says."""
    offering = _offering(offering_key)
    return render_template("instructor/seats.html", page=_page(session(), offering, request.args))


@bp.post("/teach/<offering_key>/compute/reserve")
@signed_in
def reserve(offering_key: str) -> ResponseReturnValue:
    """Keep the seats in all weeks or in none."""
    offering = _offering(offering_key)
    slots = _Wish(_typed(request.form)).slots()
    if not slots:
        page = _page(session(), offering, request.form)
        return render_template("instructor/seats.html", page=page), 400
    try:
        with transaction() as database:
            for slot in slots:
                bookings.reserve(
                    database, slot, offering_id=offering.id, actor=current_actor(), now=now()
                )
    except ConflictError:
        page = _page(session(), offering, request.form)
        return render_template("instructor/seats.html", page=page), 409
    flash(
        ngettext("%(num)s class has its seats.", "%(num)s classes have their seats.", len(slots)),
        "ok",
    )
    return redirect(f"/teach/{offering.key}/compute")


@bp.get("/teach/<offering_key>/compute/reservations/<int:number>")
@signed_in
def confirm(offering_key: str, number: int) -> ResponseReturnValue:
    """Ask before seats are given back."""
    offering = _offering(offering_key)
    page = CancelPage(offering=offering, reservation=_reservation(session(), offering, number))
    return render_template("instructor/seats_cancel.html", page=page)


@bp.post("/teach/<offering_key>/compute/reservations/<int:number>/cancel")
@signed_in
def cancel(offering_key: str, number: int) -> ResponseReturnValue:
    """Give the seats back to everybody."""
    offering = _offering(offering_key)
    with transaction() as database:
        _reservation(database, offering, number)
        bookings.cancel(database, number, actor=current_actor(), now=now())
    flash(gettext("The seats are given back to everybody."), "ok")
    return redirect(f"/teach/{offering.key}/compute")


def _offering(key: str) -> Offering:
    offering = catalogue.get_offering(session(), key)
    current_actor().require("compute:reserve", offering.id)
    return offering


def _reservation(database: Session, offering: Offering, number: int) -> Reservation:
    kept = bookings.list_upcoming(database, [offering.id], now=now())
    found = next((one for one in kept if one.id == number), None)
    if found is None:
        raise NotFoundError(sentence("There is no such reservation; it may have been cancelled."))
    return found


def _typed(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given.get(name, "").strip()[:40] for name in _FIELDS}


def _page(database: Session, offering: Offering, given: Mapping[str, str]) -> SeatsPage:
    at = now()
    wish = _Wish(_typed(given) if "date" in given else _usual(at))
    slots = wish.slots() if "date" in given else []
    sizes = read_pool(database, now=at).sizes
    when = slots[0].starts_at if slots else at
    return SeatsPage(
        offering=offering,
        typed=wish.typed,
        errors=wish.errors,
        profiles=tuple(terms().profiles.values()),
        promise=seats.promise_of(database, offering.id, sizes),
        kept=seats.kept_hours(database, offering.id, when, sizes),
        weeks=_weeks(database, offering, slots, at),
    )


def _usual(at: datetime) -> dict[str, str]:
    tomorrow = here(at).date() + timedelta(days=1)
    return {
        "date": tomorrow.isoformat(),
        "start": "14:00",
        "end": "16:00",
        "seats": "",
        "profile": next(iter(terms().profiles), ""),
        "weeks": "1",
    }


def _weeks(
    database: Session, offering: Offering, slots: list[Slot], at: datetime
) -> tuple[Week, ...]:
    kept = bookings.list_upcoming(database, None, now=at)
    titles = catalogue.list_offering_titles(
        database, [one.offering_id for one in kept if one.offering_id is not None]
    )
    return tuple(
        Week(
            slot=slot,
            problem=bookings.problem_with(
                database, slot, offering_id=offering.id, actor=current_actor(), now=at
            ),
            beside=tuple(
                (one.seats, titles.get(one.offering_id or 0))
                for one in kept
                if one.starts_at < slot.ends_at and one.ends_at > slot.starts_at
            ),
        )
        for slot in slots
    )
