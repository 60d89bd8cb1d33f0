"""Scores that wait for a person: what is held, what it hides, and what a person can decide."""

from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment, Offering
from lms.exchange.models import Submission
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from lms.gradebook.service import Standing, standing
from lms.grading.audit import body_of
from lms.grading.holds import (
    ask_regrade,
    count_held,
    decision_of,
    list_held,
    reject,
    release,
    set_practice,
    told,
)
from lms.grading.models import AuditEntry, Run
from lms.grading.service import find_feedback, finish, latest_run
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role
from lms.outposts.runner.integrity.reasons import scores_differ
from lms.protocol.grading import Integrity, RunStatus
from tests.factories import actor_of, make_offering, make_person, make_submission, make_task
from tests.factories.grading import claimed, finding

VERIFIED, UNVERIFIED, TAMPERED = Integrity.VERIFIED, Integrity.UNVERIFIED, Integrity.TAMPERED


class School:
    """One task, one student with attempts, and a teacher."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session, self.now = session, now
        self.task: OfferedAssignment = make_task(session, make_offering(session))
        session.refresh(self.task, ["assignment", "offering"])
        self.student: Person = make_person(session)
        self.teacher = self.actor(make_person(session), Role.INSTRUCTOR)

    def actor(self, person: Person, role: Role) -> Actor:
        return actor_of(person, **{f"o{self.task.offering_id}": role})

    @property
    def offering(self) -> Offering:
        return self.task.offering

    def grade(self, integrity: Integrity, *, attempt: int = 1, score: float = 2.0) -> Run:
        submission: Submission = make_submission(
            self.session, self.task, self.student, attempt=attempt
        )
        claim = claimed(self.session, submission, self.now)
        assert finish(self.session, claim, [finding(integrity, score=score)], now=self.now)
        return self.session.get_one(Run, claim.run_id)

    def standing(self) -> Standing:
        found = standing(self.session, self.task.id, self.student.id)
        assert found is not None
        return found


@pytest.fixture
def school(session: Session, now: datetime) -> School:
    return School(session, now)


@pytest.mark.parametrize(
    ("integrity", "practice", "score", "held"),
    [
        (VERIFIED, False, 2.0, False),
        (UNVERIFIED, False, 2.0, True),
        (UNVERIFIED, False, 0.0, False),
        (UNVERIFIED, True, 2.0, False),
        (TAMPERED, False, 2.0, True),
        (TAMPERED, True, 2.0, True),
        (TAMPERED, True, 0.0, True),
    ],
)
def test_what_nobody_could_verify_is_held_and_tampering_always(
    school: School, integrity: Integrity, *, practice: bool, score: float, held: bool
) -> None:
    set_practice(school.session, school.offering, practice=practice, actor=school.teacher)
    run = school.grade(integrity, score=score)
    assert run.held == held
    assert (run.hold_reason is not None) == held
    assert school.standing().score == (None if held else score)


def test_where_two_ways_of_scoring_disagree_practice_does_not_help(school: School) -> None:
    set_practice(school.session, school.offering, practice=True, actor=school.teacher)
    submission = make_submission(school.session, school.task, school.student)
    claim = claimed(school.session, submission, school.now)
    found = finding(UNVERIFIED, why=scores_differ("q1", 2.0, 1.0))
    assert finish(school.session, claim, [found], now=school.now)
    run = school.session.get_one(Run, claim.run_id)
    assert (run.held, run.hold_reason) == (True, scores_differ("q1", 2.0, 1.0).to_json())


def test_a_score_that_nobody_judged_is_held(school: School) -> None:
    submission = make_submission(school.session, school.task, school.student)
    claim = claimed(school.session, submission, school.now)
    found = finding()
    cells = tuple(replace(cell, integrity=None) for cell in found.result.cells)
    bare = replace(found, result=replace(found.result, cells=cells))
    assert finish(school.session, claim, [bare], now=school.now)
    assert school.session.get_one(Run, claim.run_id).held


def test_while_it_is_held_the_student_sees_no_feedback_and_is_told_so(
    school: School, blobs: BlobStore
) -> None:
    run = school.grade(UNVERIFIED)
    page = blobs.put(b"<p>feedback</p>")
    run.notebooks[0].feedback = page
    school.session.flush()
    with pytest.raises(ForbiddenError):
        find_feedback(school.session, blobs, run, "ps1")
    assert find_feedback(school.session, blobs, run, "ps1", for_staff=True) == b"<p>feedback</p>"
    assert "A person will look at this" in str(told(run))
    release(school.session, run.id, actor=school.teacher, now=school.now)
    assert find_feedback(school.session, blobs, run, "ps1") == b"<p>feedback</p>"
    assert told(run) is None


def test_a_held_attempt_does_not_replace_one_that_counts_until_it_is_released(
    school: School,
) -> None:
    first = school.grade(VERIFIED, attempt=1, score=1.0)
    second = school.grade(UNVERIFIED, attempt=2)
    assert school.standing().submission.id == first.submission_id
    release(school.session, second.id, actor=school.teacher, now=school.now)
    assert (school.standing().submission.id, school.standing().score) == (second.submission_id, 2.0)


def test_a_rejected_score_counts_zero_or_is_set_aside_and_says_why(school: School) -> None:
    first = school.grade(VERIFIED, attempt=1, score=1.0)
    second = school.grade(TAMPERED, attempt=2)
    third = school.grade(TAMPERED, attempt=3)
    with pytest.raises(InvalidError):
        reject(school.session, third.id, "  ", counts=False, actor=school.teacher, now=school.now)
    reject(
        school.session, third.id, "It is a copy.", counts=False, actor=school.teacher,
        now=school.now,
    )  # fmt: skip
    assert school.standing().submission.id == first.submission_id
    assert "does not count: It is a copy." in str(told(third))
    reject(
        school.session, second.id, "The test was replaced.", counts=True, actor=school.teacher,
        now=school.now,
    )  # fmt: skip
    assert (school.standing().submission.id, school.standing().score) == (second.submission_id, 0.0)
    assert "0 points: The test was replaced." in str(told(second))


def test_a_regrade_runs_anew_and_the_new_run_counts(school: School) -> None:
    run = school.grade(UNVERIFIED)
    again = ask_regrade(school.session, run.id, actor=school.teacher, now=school.now)
    assert (again.fresh, again.status, again.number) == (True, RunStatus.QUEUED, 2)
    newest = latest_run(school.session, run.submission_id)
    assert newest is not None
    assert newest.id == again.id
    assert list_held(school.session, school.task.offering_id, actor=school.teacher) == []


def test_the_instructor_gets_a_list_with_counts_and_reasons(school: School) -> None:
    school.grade(VERIFIED, attempt=1)
    runs = [school.grade(UNVERIFIED, attempt=2), school.grade(TAMPERED, attempt=3)]
    offering_id = school.task.offering_id
    held = list_held(school.session, offering_id, actor=school.teacher)
    assert [one.run.id for one in held] == [run.id for run in runs]
    assert "own interpreter" in str(held[0].reason)
    assert held[0].person.id == school.student.id
    counts = count_held(school.session, [offering_id, offering_id + 1])
    assert counts == {offering_id: {UNVERIFIED: 1, TAMPERED: 1}}


def test_only_an_instructor_decides_and_only_once(school: School) -> None:
    run = school.grade(UNVERIFIED)
    session, now = school.session, school.now
    grader = school.actor(make_person(session), Role.GRADER)
    with pytest.raises(ForbiddenError):
        release(session, run.id, actor=grader, now=now)
    stranger = actor_of(make_person(session))
    with pytest.raises(NotFoundError):
        release(session, run.id, actor=stranger, now=now)
    student = school.actor(school.student, Role.STUDENT)
    with pytest.raises(NotFoundError):
        release(session, run.id, actor=student, now=now)
    with pytest.raises(ForbiddenError):
        set_practice(session, school.offering, practice=True, actor=grader)
    release(session, run.id, actor=school.teacher, now=now)
    with pytest.raises(ConflictError):
        reject(session, run.id, "Late.", counts=True, actor=school.teacher, now=now)
    assert (run.released_by, run.released_at) == (school.teacher.person_id, now)


def test_the_decision_stands_in_the_audit_log_without_who_and_why(school: School) -> None:
    run = school.grade(UNVERIFIED)
    release(school.session, run.id, actor=school.teacher, now=school.now, reason="I ran it.")
    entries = school.session.scalars(select(AuditEntry).order_by(AuditEntry.sequence)).all()
    assert [entry.kind for entry in entries] == ["run.finished", "run.held", "run.released"]
    body = body_of(entries[-1])
    assert body == {"run": run.audit_id, "verdict": "released", "decision": decision_of(run)}
    run.verdict_reason = "I did not."
    assert decision_of(run) != body["decision"]
