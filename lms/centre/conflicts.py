"""Two truths about the same work: both are kept, and what counts is written down with its why."""

from datetime import datetime

from sqlalchemy.orm import Session

from lms.centre.models import CentreConflict
from lms.centre.rules import ConflictKind
from lms.protocol.sentences import Sentence, sentence


def note(
    session: Session,
    kind: ConflictKind,
    submission: int,
    decision: Sentence,
    *,
    centre: str,
    now: datetime,
    other: int | None = None,
) -> None:
    """Write a conflict down, by the submissions' ids."""
    session.add(
        CentreConflict(
            kind=kind,
            centre=centre,
            submission_id=submission,
            other_id=other,
            decision=decision.to_json(),
            at=now,
        )
    )


def note_same_work(
    session: Session, submission: int, other: int, *, centre: str, now: datetime
) -> None:
    """Note that the very same files were handed in here and there."""
    decision = sentence(
        "The same files were handed in at two places. They count once, as the earlier one."
    )
    kind = ConflictKind.SAME_WORK
    note(session, kind, submission, decision, centre=centre, now=now, other=other)


def note_two_places(
    session: Session, submission: int, other: int, *, centre: str, now: datetime
) -> None:
    """Note that a person handed in here and there."""
    decision = sentence(
        "The person handed in at two places. All attempts are kept; "
        "the one that was handed in last counts."
    )
    kind = ConflictKind.TWO_PLACES
    note(session, kind, submission, decision, centre=centre, now=now, other=other)


def note_clock(session: Session, submission: int, *, centre: str, now: datetime) -> None:
    """Note that nobody knows whether it was late: the doubt is the student's."""
    decision = sentence(
        "The centre's clock was not right, so nobody knows whether this was in time. "
        "It counts as in time."
    )
    note(session, ConflictKind.CLOCK, submission, decision, centre=centre, now=now)


def note_old_release(session: Session, submission: int, *, centre: str, now: datetime) -> None:
    """Note that the centre graded against a release that was replaced by then."""
    decision = sentence(
        "The centre had an older release. The result stands against that one until it is regraded."
    )
    note(session, ConflictKind.OLD_RELEASE, submission, decision, centre=centre, now=now)
