"""What central knows of its centres, as pages: last contact, what came, what audits say."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from lms.centre import pages as centre
from lms.centre import status
from lms.centre.models import Centre
from lms.centre.opening import SealCode, list_codes
from lms.centre.pages import Dispute
from lms.centre.rules import CentreState, RecordState, ResultState
from lms.centre.tickets import this_version
from lms.exchange.models import Submission
from lms.foundation.errors import LmsError
from lms.foundation.signing import Signer
from lms.grading.models import Run
from lms.identity.models import Person
from lms.outposts.bundles.sealing import Seals
from lms.protocol.sentences import sentence
from lms.web.centre.building import span
from lms.web.centre.pages import (
    Audit,
    CentreRow,
    CentresPage,
    CentreView,
    Day,
    Decided,
    Disputed,
    RunsPage,
    SealedTests,
    Strip,
)
from lms.web.dates import here, short_day
from lms.web.i18n import gettext
from lms.web.parts import State

DAYS, SQUARE = 14, 14
#: A centre that was heard of longer ago is quiet.
QUIET = timedelta(days=7)

_INVITED = State("clock", "", sentence("Invited"))
_WELL = State("check", "ok", sentence("In touch"))
_QUIET = State("clock", "wait", sentence("Quiet"))
_REVOKED = State("stop", "bad", sentence("Revoked"))
_FORKED = State("stop", "bad", sentence("Put back from a backup"))
_CONFLICTS = {
    "same_work": sentence("The same work came from two places"),
    "two_places": sentence("Handed in at two places"),
    "clock": sentence("The centre's clock was not right"),
    "old_release": sentence("Graded against an older release"),
}


def make_table(database: Session, *, at: datetime) -> CentresPage:
    """Return central's table of centres."""
    found = centre.list_centres(database)
    records, results = centre.count_records(database), centre.count_results(database)
    received = centre.received_since(database, at - timedelta(days=DAYS))
    forked = centre.forked(database)
    rows = tuple(
        _row(
            one,
            records.get(one.id, Counter()),
            results.get(one.id, Counter()),
            received.get(one.id, ()),
            is_forked=one.id in forked,
            at=at,
        )
        for one in found
    )
    return CentresPage(centres=rows, software=this_version())


def _row(
    one: Centre,
    records: Counter[RecordState],
    results: Counter[ResultState],
    received: Iterable[tuple[datetime, int]],
    *,
    is_forked: bool,
    at: datetime,
) -> CentreRow:
    return CentreRow(
        name=one.name,
        href=f"/admin/centres/{one.id}",
        state=_state(one, is_forked=is_forked, at=at),
        contact_at=one.contact_at,
        ago="" if one.contact_at is None else span(at - one.contact_at),
        software=one.software,
        strip=_strip(received, at),
        records=records.total(),
        waiting=records[RecordState.NEW] + records[RecordState.WAITING],
        refused=records[RecordState.REFUSED],
        kept_apart=records[RecordState.QUARANTINED],
        audit=Audit(
            results=results.total(),
            checked=results[ResultState.CONFIRMED] + results[ResultState.DISPUTED],
            under_way=results[ResultState.SAMPLED],
            disputed=results[ResultState.DISPUTED],
        ),
    )


def _state(one: Centre, *, is_forked: bool, at: datetime) -> State:
    if one.state == CentreState.REVOKED:
        return _REVOKED
    if one.state == CentreState.INVITED:
        return _INVITED
    if is_forked:
        return _FORKED
    return _QUIET if one.contact_at is None or at - one.contact_at > QUIET else _WELL


def _strip(received: Iterable[tuple[datetime, int]], at: datetime) -> Strip:
    """Return the last days as cells: on a filled one, records came."""
    today = here(at).date()
    counts: Counter[int] = Counter()
    for when, count in received:
        counts[(today - here(when).date()).days] += count
    days = tuple(
        Day(x=(DAYS - 1 - back) * SQUARE, count=counts[back], is_today=back == 0)
        for back in reversed(range(DAYS))
    )
    came = [back for back in range(DAYS) if counts[back]]
    if not came:
        spoken = gettext("No records came in the last %(days)s days", days=DAYS)
    else:
        spoken = gettext(
            "Records came on %(count)s of the last %(days)s days, the newest on %(day)s",
            count=len(came),
            days=DAYS,
            day=short_day(today - timedelta(days=came[0])),
        )
    return Strip(days=days, width=DAYS * SQUARE, height=SQUARE, spoken=spoken)


def make_view(
    database: Session,
    one: Centre,
    seals: Seals,
    courses: Sequence[str],
    signer: Signer,
    *,
    at: datetime,
) -> CentreView:
    """Return one centre closely."""
    records = centre.count_records(database).get(one.id, Counter())
    row = _row(
        one,
        records,
        centre.count_results(database).get(one.id, Counter()),
        centre.received_since(database, at - timedelta(days=DAYS)).get(one.id, ()),
        is_forked=one.id in centre.forked(database),
        at=at,
    )
    return CentreView(
        row=row,
        identity=one.id,
        epoch=one.epoch,
        invited_at=one.invited_at,
        joined_at=one.joined_at,
        is_revoked=one.state == CentreState.REVOKED,
        revoked_at=one.revoked_at,
        revoked_reason=one.revoked_reason,
        applied=records[RecordState.APPLIED],
        submissions=centre.count_origins(database, one),
        percent=f"{one.audit_rate * 100:g}",
        codes=tuple(_codes(one, seals, courses, signer, at)),
        refused=tuple(centre.list_refused(database, one)),
        decided=tuple(
            Decided(
                what=_CONFLICTS.get(kind, sentence("Two truths met")),
                decision=decision,
                href=f"/submissions/{submission}",
            )
            for kind, submission, decision in centre.list_conflicts(database, one)
        ),
        disputes=tuple(
            _disputed(database, row.href, entry["run"]) for entry in status.disputes(database, one)
        ),
    )


def _codes(
    one: Centre, seals: Seals, courses: Sequence[str], signer: Signer, at: datetime
) -> Iterable[SealedTests]:
    if one.state != CentreState.JOINED:
        return
    for course in courses:
        try:
            found: list[SealCode] = list_codes(one, course, seals, signer, now=at)
        except LmsError as error:
            yield SealedTests(course=course, opens_at=None, is_out=False, problem=error.sentence)
            continue
        for code in found:
            yield SealedTests(course=course, opens_at=code.opens_at, is_out=code.code is not None)


def _disputed(database: Session, href: str, run_id: int) -> Disputed:
    run = database.get_one(Run, run_id)
    submission = database.get_one(Submission, run.submission_id)
    return Disputed(
        href=f"{href}/runs/{run_id}",
        name=database.get_one(Person, submission.person_id).display_name,
        attempt=submission.attempt,
        finished_at=run.finished_at,
        is_held=run.held,
    )


def compare(database: Session, one: Centre, both: Dispute) -> RunsPage:
    """Return a centre's run and central's of the same files, side by side."""
    submission = database.get_one(Submission, both.theirs.submission_id)
    return RunsPage(
        centre=one.name,
        centre_href=f"/admin/centres/{one.id}",
        name=database.get_one(Person, submission.person_id).display_name,
        attempt=submission.attempt,
        submission_href=f"/submissions/{submission.id}",
        theirs=(both.theirs.score, both.theirs.finished_at),
        ours=(both.ours.score, both.ours.finished_at),
        most=both.theirs.max_score or 0.0,
        is_held=both.theirs.held,
        questions=both.questions,
    )
