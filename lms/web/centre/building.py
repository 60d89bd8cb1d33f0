"""How the box's own page comes together: courses, what waits, the disk, and what needs somebody."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from lms.bootstrap import System
from lms.bootstrap.health import UNKNOWN, report
from lms.centre import pages as centre
from lms.centre.models import CentreSelf
from lms.centre.pages import CourseHere, Space
from lms.centre.sending import newest
from lms.outposts.bundles.store import Store
from lms.protocol.sentences import Sentence, sentence
from lms.web.centre.pages import CentrePage, CourseRow, Disk, Problem, SpacePart
from lms.web.charts import Chart, Plot
from lms.web.dates import here, minutes, moment, short_day, size
from lms.web.i18n import gettext, ngettext, say
from lms.web.parts import State
from lms.web.status import PartRow, part_row

#: The chart covers so many days.
DAYS = 14
#: After so many days without central a centre with work to send is asked to sync.
QUIET = timedelta(days=3)
#: Below these shares of the disk somebody should see to it, or must.
LOW, VERY_LOW = 0.10, 0.03
#: Seconds for which the sizes of folders are remembered: walking through them takes a while.
_KEEP = 300
_measured: dict[Path, tuple[float, Space]] = {}


def make_centre(
    database: Session, me: CentreSelf, system: System, store: Store, *, at: datetime
) -> CentrePage:
    """Return the page of the centre that this box is."""
    last = newest(database, me)
    waiting = last - me.complete_to
    rows = tuple(_course_row(one, at) for one in centre.list_courses(database, store))
    parts = tuple(part_row(one) for one in report(system))
    space = _space(system.settings.data_dir)
    problems = tuple(_problems(me, rows, parts, space, waiting, at))
    quiet = me.contact_at is None or at - me.contact_at > QUIET
    title, lede = _headline(me, waiting, problems, at)
    return CentrePage(
        name=me.name,
        central=me.central_url,
        title=title,
        lede=lede,
        students=centre.count_students(database),
        contact_at=me.contact_at,
        joined_at=me.joined_at,
        ago="" if me.contact_at is None else span(at - me.contact_at),
        is_quiet=quiet,
        sent=me.complete_to,
        waiting=waiting,
        oldest=centre.oldest_waiting(database, me) if waiting else None,
        courses=rows,
        chart=_chart(database, me, at),
        disk=_disk(space),
        parts=parts,
        clock_ok=at >= me.signed_at,
        signed_at=me.signed_at,
        problems=problems,
        may_open=bool(rows),
    )


def span(value: timedelta) -> str:
    """Return a span of time as people say it: minutes and hours, from two days on days."""
    days = value // timedelta(days=1)
    if days > 1:
        return ngettext("%(num)s day", "%(num)s days", days)
    return minutes(max(1, value // timedelta(minutes=1)))


def _headline(
    me: CentreSelf, waiting: int, problems: tuple[Problem, ...], at: datetime
) -> tuple[str, str]:
    bad = [one for one in problems if one.tone == "bad"]
    if bad:
        title = ngettext("One thing needs you", "%(num)s things need you", len(bad))
    elif waiting:
        title = ngettext(
            "Everything works here. %(num)s record waits to go to central.",
            "Everything works here. %(num)s records wait to go to central.",
            waiting,
        )
    elif me.complete_to:
        title = gettext("Everything works here, and central has it all.")
    else:
        title = gettext("Everything works here. Nothing has been written yet.")
    if me.contact_at is None:
        return title, gettext(
            "Central has not answered this centre yet. Classes, submissions and grades carry on; "
            "nothing is lost while you wait."
        )
    if at - me.contact_at > QUIET:
        return title, gettext(
            "Central was last heard of %(span)s ago. Classes, submissions and grades carry on; "
            "nothing is lost while you wait.",
            span=span(at - me.contact_at),
        )
    return title, gettext("Central was last heard of %(span)s ago.", span=span(at - me.contact_at))


def _course_row(one: CourseHere, at: datetime) -> CourseRow:
    closed = [seal for seal in one.seals if not seal.is_open]
    if one.problem is not None:
        return CourseRow(
            here=one, state=State("stop", "bad", sentence("Damaged")), more=say(one.problem)
        )
    if any(seal.opens_at <= at for seal in closed):
        return CourseRow(here=one, state=State("key", "wait", sentence("Tests can be opened")))
    if one.is_behind:
        word = sentence("Ready, version %(number)s on the way", number=one.newest or 0)
        return CourseRow(here=one, state=State("clock", "wait", word))
    if closed:
        word = sentence("Ready, tests still closed")
        return CourseRow(here=one, state=State("lock", "ok", word))
    return CourseRow(here=one, state=State("seal", "ok", sentence("Ready")))


def _problems(
    me: CentreSelf,
    rows: tuple[CourseRow, ...],
    parts: tuple[PartRow, ...],
    space: Space,
    waiting: int,
    at: datetime,
) -> Iterator[Problem]:
    if me.refusal is not None:
        yield Problem(
            tone="bad",
            title=gettext("Central did not take the last sync"),
            todo=say(Sentence.from_json(me.refusal)),
        )
    if at < me.signed_at:
        yield Problem(
            tone="bad",
            title=gettext("The clock of this machine is behind"),
            todo=gettext(
                "It says %(here)s, and central has signed something at %(there)s. Set the clock; "
                "until then central cannot tell what was handed in on time.",
                here=moment(at),
                there=moment(me.signed_at),
            ),
        )
    yield from _disk_problems(space)
    yield from _part_problems(parts)
    yield from _course_problems(rows, at)
    if waiting and (me.contact_at is None or at - me.contact_at > QUIET):
        yield Problem(
            tone="wait",
            title=gettext("Work here waits for central"),
            todo=gettext(
                "With a line, run lms centre sync. Without one, plug in a stick and run "
                "lms centre push --to FOLDER, then bring the stick to central."
            ),
        )


def _part_problems(parts: tuple[PartRow, ...]) -> Iterator[Problem]:
    for part in parts:
        # Of a part that cannot be seen while another is down there is nothing to say.
        if part.state.tone == "bad" and part.reason != UNKNOWN:
            yield Problem(
                tone="bad",
                title=gettext("%(part)s does not work", part=say(part.name)),
                todo=say(part.reason) if part.reason else "",
            )


def _disk_problems(space: Space) -> Iterator[Problem]:
    share = space.free / space.total
    if share < LOW:
        yield Problem(
            tone="bad" if share < VERY_LOW else "wait",
            title=gettext("The disk is nearly full: %(free)s are free", free=size(space.free)),
            todo=gettext(
                "Take away what does not belong to Seodang, or get a larger disk. When it is "
                "full, nothing can be handed in; what was handed in stays safe."
            ),
        )


def _course_problems(rows: tuple[CourseRow, ...], at: datetime) -> Iterator[Problem]:
    if not rows:
        yield Problem(
            tone="wait",
            title=gettext("There is no course here yet"),
            todo=gettext(
                "With a line, run lms centre pull. With a stick from central, run "
                "lms centre pull --from FOLDER."
            ),
        )
    for row in rows:
        name = course_name(row.here)
        if row.here.problem is not None:
            yield Problem(
                tone="bad",
                title=gettext("%(course)s is damaged", course=name),
                todo=row.more,
            )
        due = [one for one in row.here.seals if not one.is_open and one.opens_at <= at]
        if due:
            yield Problem(
                tone="wait",
                title=gettext("The hidden tests of %(course)s can be opened", course=name),
                todo=gettext(
                    "Ask central for the code and type it below. With a line, lms centre pull "
                    "opens them by itself. Work that is handed in waits until then."
                ),
            )


def course_name(one: CourseHere) -> str:
    """Return a course's title, or its key as long as it has none."""
    return one.key if one.title is None else say(one.title)


def _chart(database: Session, me: CentreSelf, at: datetime) -> Chart:
    today = here(at).date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    sent, waiting = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
    for written, is_sent in centre.records_since(database, me, at - timedelta(days=DAYS)):
        day = here(written).date()
        counts = sent if is_sent else waiting
        if day in counts:
            counts[day] += 1
    plot = Plot(
        bars=(("bars", list(sent.values())), ("mine", list(waiting.values()))),
        words=[short_day(day) for day in days],
        named=[index for index in range(DAYS) if (DAYS - 1 - index) % 3 == 0],
    )
    spoken = gettext(
        "Records written on each of the last %(days)s days: central has %(sent)s of them, "
        "%(waiting)s wait.",
        days=DAYS,
        sent=sum(sent.values()),
        waiting=sum(waiting.values()),
    )
    rows = tuple(
        (short_day(day), str(sent[day]), str(waiting[day]))
        for day in days
        if sent[day] or waiting[day]
    )
    return Chart(drawings=plot.draw(), unit=gettext("records"), spoken=spoken, rows=rows)


def _space(folder: Path) -> Space:
    known = _measured.get(folder)
    if known is not None and time.monotonic() - known[0] < _KEEP:
        return known[1]
    found = centre.measure(folder, ("bundles", "environments", "blobs", "db"))
    _measured[folder] = (time.monotonic(), found)
    return found


def _disk(space: Space) -> Disk:
    words = {
        "bundles": gettext("Courses from central"),
        "environments": gettext("Packages of courses"),
        "blobs": gettext("Files handed in and graded"),
        "db": gettext("Database"),
    }
    known = sum(space.parts.values())
    sizes = {**space.parts, "other": max(0, space.total - space.free - known)}
    words["other"] = gettext("Everything else on this disk")
    parts = tuple(
        SpacePart(
            words=words[kind],
            kind=kind,
            size_bytes=used,
            percent=round(100 * used / space.total, 2),
        )
        for kind, used in sizes.items()
    )
    spoken = gettext(
        "%(free)s of %(total)s are free", free=size(space.free), total=size(space.total)
    )
    return Disk(free=space.free, total=space.total, parts=parts, spoken=spoken)
