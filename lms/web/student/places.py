"""Where a person stands with an offering: in it, waiting, able to enrol and how, or not."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from lms.catalogue.models import Offering
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState, is_closed
from lms.protocol.sentences import sentence
from lms.web.dates import day_year, here
from lms.web.i18n import gettext, ngettext
from lms.web.parts import State

PLACES: Mapping[str, State] = {
    "enrolled": State("check", "ok", sentence("Enrolled")),
    "pending": State("clock", "wait", sentence("Waiting for the instructor")),
    "declined": State("x", "bad", sentence("Request declined")),
    "closed": State("lock", "", sentence("Enrolment closed")),
    "full": State("lock", "wait", sentence("Full")),
    "open": State("go", "", sentence("Open to enrol")),
    "code": State("key", "", sentence("With an enrolment code")),
    "approval": State("hand", "", sentence("With the instructor's approval")),
}
#: Which of several offerings speaks for a course, and stands first on its page.
ORDER = ("enrolled", "pending", "open", "code", "approval", "full", "declined", "closed")


def way_of(offering: Offering, enrolment: Enrolment | None, taken: int, now: datetime) -> str:
    """Return the key of PLACES that says where the person stands."""
    if enrolment is not None:
        if enrolment.state == EnrolmentState.ACTIVE:
            return "enrolled"
        if enrolment.state == EnrolmentState.PENDING:
            return "pending"
    if is_closed(offering.ends_on, now):
        return "closed"
    if enrolment is not None and enrolment.state == EnrolmentState.DECLINED:
        return "declined"
    if offering.capacity is not None and taken >= offering.capacity:
        return "full"
    return offering.enrolment


def speaking_offering(
    offerings: Sequence[Offering],
    enrolments: Mapping[int, Enrolment],
    taken: Mapping[int, int],
    now: datetime,
) -> tuple[Offering, str] | None:
    """Return the offering that matters most to the person, and its way; None without any."""
    ways = [
        (offering, way_of(offering, enrolments.get(offering.id), taken.get(offering.id, 0), now))
        for offering in offerings
    ]
    return min(ways, key=lambda pair: ORDER.index(pair[1]), default=None)


def starts_words(offering: Offering | None, now: datetime) -> str:
    """Say when an offering starts or that it runs."""
    if offering is None:
        return gettext("Dates not set")
    today = here(now).date()
    if today < offering.starts_on:
        return day_year(offering.starts_on)
    if today <= offering.ends_on:
        return gettext("Running, until %(day)s", day=day_year(offering.ends_on))
    return gettext("Ended %(day)s", day=day_year(offering.ends_on))


def seats_words(offering: Offering | None, taken: int) -> str:
    """Say how many places are left."""
    if offering is None:
        return "–"
    if offering.capacity is None:
        return gettext("No limit")
    left = max(0, offering.capacity - taken)
    if left == 0:
        return ngettext("Full, %(num)s place", "Full, %(num)s places", offering.capacity)
    return ngettext(
        "%(num)s of %(total)s left", "%(num)s of %(total)s left", left, total=offering.capacity
    )
