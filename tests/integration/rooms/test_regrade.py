"""Regrades: exactly what a change touches, who gains or loses, and nothing before it is applied."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.publishing import publish, stage
from lms.exchange.models import Submission
from lms.exchange.rules import submission_digest
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import ConflictError, ForbiddenError
from lms.gradebook.service import standing
from lms.grading.checking import check_log
from lms.grading.jobs import read_job
from lms.grading.models import Run
from lms.grading.queue import enqueue
from lms.grading.regrades import (
    Preview,
    apply_plan,
    discard_plan,
    get_preview,
    list_plans,
    plan_regrade,
)
from lms.grading.service import finish, latest_run
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM, Role
from lms.outposts.runner.release import BuiltRelease, build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import RunStatus
from tests.factories import actor_of, make_offering, make_person, make_task
from tests.factories.grading import claim_of, finding
from tests.factories.notebooks import checked, notebook, plain, read_only, solution

HIDDEN = (
    "assert add(1, 2) == 3\n### BEGIN HIDDEN TESTS\nassert add(2, 2) == {}\n### END HIDDEN TESTS"
)
ANSWER = "def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION"


def source(
    *, expected: int = 5, prose: str = "Add.", points: float = 2, stub: str = ANSWER,
    fixed: str = "import math", data: bytes = b"1,2",
) -> AssignmentSource:  # fmt: skip
    one = notebook(
        plain(prose, "markdown"),
        read_only("fixed", fixed),
        solution("add", stub),
        checked("q1", points, HIDDEN.format(expected)),
    )
    two = notebook(solution("b", "x = 1"), checked("q1", 2, "assert x == 1"))
    files = {"ps1.ipynb": one, "two.ipynb": two}
    written = {name: json.dumps(content).encode() for name, content in files.items()}
    return AssignmentSource(name="ps1", files=written | {"data.csv": data})


class School:
    """An assignment of two notebooks, with a release whose hidden test is wrong."""

    def __init__(self, session: Session, blobs: BlobStore, now: datetime) -> None:
        self.session, self.blobs, self.now = session, blobs, now
        self.task: OfferedAssignment = make_task(session, make_offering(session))
        session.refresh(self.task, ["assignment", "offering"])
        self.assignment: Assignment = self.task.assignment
        self.first = self.publish(source())

    def publish(self, changed: AssignmentSource) -> Release:
        return publish(
            self.session, self.blobs, self.assignment, build(changed), actor=SYSTEM, now=self.now
        )

    def stage(self, changed: AssignmentSource) -> Release:
        built: BuiltRelease = build(changed)
        return stage(self.session, self.blobs, self.assignment, built, actor=SYSTEM, now=self.now)

    def submit(self, person: Person, files: Mapping[str, bytes], *, attempt: int = 1) -> Submission:
        content = dict(files)
        assert self.task.release_id is not None
        submission = Submission(
            task_id=self.task.id,
            release_id=self.task.release_id,
            person_id=person.id,
            attempt=attempt,
            digest=submission_digest(content),
            files=[
                {"path": path, "digest": self.blobs.put(data), "bytes": len(data)}
                for path, data in content.items()
            ],
            submitted_at=self.now,
            late=False,
            via="page",
        )
        self.session.add(submission)
        self.session.flush()
        return submission

    def grade(self, run: Run, score: float, other: float | None = 2.0) -> None:
        claim = claim_of(self.session, run, self.now)
        found = [finding(score=score)]
        if other is not None:
            found.append(finding(score=other, notebook="two"))
        job = read_job(self.session, self.blobs, run.id)
        assert finish(self.session, claim, found, now=self.now, recipe=job.recipe)

    def hand_in(self, *notebooks: str, score: float = 0.0, gone: str = "") -> Submission:
        person = make_person(self.session)
        files = {
            f"{name}.ipynb": json.dumps(
                notebook(
                    *([] if gone == "add" else [solution("add", f"# {person.id}")]),
                    solution("b", "x = 1"),
                )
            ).encode()
            for name in notebooks
        }
        submission = self.submit(person, files)
        self.grade(enqueue(self.session, submission.id, now=self.now), score)
        return submission

    def plan(self, release: Release) -> Preview:
        plan = plan_regrade(self.session, self.blobs, release, actor=SYSTEM, now=self.now)
        return get_preview(self.session, plan.id, actor=SYSTEM)

    def score(self, submission: Submission) -> float | None:
        found = standing(self.session, self.task.id, submission.person_id)
        return None if found is None else found.score


@pytest.fixture
def school(session: Session, blobs: BlobStore, now: datetime) -> School:
    return School(session, blobs, now)


@pytest.mark.parametrize(
    ("changed", "touched", "kinds"),
    [
        (source(prose="Add two numbers."), "", set()),
        (source(stub=ANSWER.replace("return a + b", "return b + a")), "", set()),
        (source(expected=4), "one both gone", {"test"}),
        (source(fixed="import cmath"), "one both gone", {"locked"}),
        (source(points=3), "one two both gone", {"points"}),
        (source(data=b"1,3"), "one two both gone", {"data"}),
        (source(stub=ANSWER.replace("(a, b)", "(a, b=1)")), "gone", {"stub"}),
    ],
)
def test_a_change_touches_exactly_the_submissions_whose_result_it_can_change(
    school: School, changed: AssignmentSource, touched: str, kinds: set[str]
) -> None:
    submissions = {
        "one": school.hand_in("ps1"),
        "two": school.hand_in("two"),
        "both": school.hand_in("ps1", "two"),
        "gone": school.hand_in("ps1", gone="add"),
    }
    preview = school.plan(school.stage(changed))
    found = {shift.submission.id for shift in preview.shifts}
    assert found == {submissions[name].id for name in touched.split()}
    assert {change["kind"] for change in preview.plan.changes} == kinds


def test_the_same_files_and_another_environment_touch_as_they_should(school: School) -> None:
    submission = school.hand_in("ps1")
    assert school.plan(school.first).shifts == ()
    discard_plan(school.session, 1, actor=SYSTEM, now=school.now)
    (run,) = school.session.scalars(select(Run)).all()
    assert run.recipe is not None
    run.recipe = {**run.recipe, "environment": "sha256:older"}
    school.session.flush()
    preview = school.plan(school.first)
    assert [shift.submission.id for shift in preview.shifts] == [submission.id]
    assert preview.plan.changes == [{"kind": "environment", "notebook": "", "name": ""}]


def test_a_raised_limit_touches_only_who_ran_into_one(school: School) -> None:
    school.hand_in("ps1")
    slow = school.hand_in("ps1")
    run = school.session.scalars(select(Run).where(Run.submission_id == slow.id)).one()
    run.status = RunStatus.TIMED_OUT
    school.assignment.limits = {"cell_seconds": 60}
    preview = school.plan(school.first)
    assert [shift.submission.id for shift in preview.shifts] == [slow.id]
    assert preview.plan.changes == [{"kind": "limits", "notebook": "", "name": "cell_seconds"}]


def test_who_gains_and_loses_is_shown_and_nothing_changes_before_it_is_applied(
    school: School,
) -> None:
    session, now = school.session, school.now
    wronged, lucky, same = (school.hand_in("ps1", score=score) for score in (0.0, 2.0, 1.0))
    release = school.stage(source(expected=4))
    preview = school.plan(release)
    assert (preview.waiting, preview.gaining, preview.losing) == (3, 0, 0)
    with pytest.raises(ConflictError):
        apply_plan(session, school.blobs, preview.plan.id, actor=SYSTEM, now=now)
    for shift, score in zip(
        sorted(preview.shifts, key=lambda one: one.submission.id), (2.0, 0.0, 1.0), strict=True
    ):
        assert shift.after is not None
        assert (shift.after.priority, shift.after.preview) == (-10, True)
        assert read_job(session, school.blobs, shift.after.id).source.files == dict(
            source(expected=4).files
        )
        school.grade(shift.after, score)
    preview = get_preview(session, preview.plan.id, actor=SYSTEM)
    assert (preview.waiting, preview.gaining, preview.losing) == (0, 1, 1)
    by_id = {shift.submission.id: shift for shift in preview.shifts}
    (cell,) = by_id[wronged.id].cells
    assert (cell.notebook, cell.grade_id, cell.before, cell.after) == ("ps1", "q1", 0.0, 2.0)
    assert by_id[lucky.id].difference == -2.0
    assert by_id[same.id].cells == ()
    assert [school.score(one) for one in (wronged, lucky, same)] == [2.0, 4.0, 3.0]
    assert (school.task.release_id, release.staged) == (school.first.id, True)

    queued = session.scalar(select(func.count()).select_from(Run))
    apply_plan(session, school.blobs, preview.plan.id, actor=SYSTEM, now=now)
    assert [school.score(one) for one in (wronged, lucky, same)] == [4.0, 2.0, 3.0]
    assert (school.task.release_id, release.staged) == (release.id, False)
    assert session.scalar(select(func.count()).select_from(Run)) == queued
    session.flush()
    assert check_log(session, {}).ok
    with pytest.raises(ConflictError):
        discard_plan(session, preview.plan.id, actor=SYSTEM, now=now)


def test_a_discarded_plan_leaves_every_score_and_an_empty_queue(school: School) -> None:
    session, now = school.session, school.now
    first, second = school.hand_in("ps1", score=1.0), school.hand_in("ps1", score=1.0)
    preview = school.plan(school.stage(source(expected=4)))
    done = preview.shifts[0].after
    assert done is not None
    school.grade(done, 0.0)
    discard_plan(session, preview.plan.id, actor=SYSTEM, now=now)
    assert [school.score(one) for one in (first, second)] == [3.0, 3.0]
    left = session.scalars(select(Run).where(Run.status == RunStatus.QUEUED)).all()
    assert list(left) == []
    assert school.task.release_id == school.first.id
    preview = get_preview(session, preview.plan.id, actor=SYSTEM)
    assert [shift.after is None for shift in preview.shifts] == [False, True]
    assert check_log(session, {}).ok


def test_one_plan_at_a_time_and_only_for_who_may_regrade(school: School) -> None:
    school.hand_in("ps1")
    release = school.stage(source(expected=4))
    preview = school.plan(release)
    with pytest.raises(ConflictError):
        school.plan(release)
    grader = actor_of(make_person(school.session), **{f"o{school.task.offering_id}": Role.GRADER})
    with pytest.raises(ForbiddenError):
        get_preview(school.session, preview.plan.id, actor=grader)
    with pytest.raises(ForbiddenError):
        list_plans(school.session, school.assignment.id, actor=grader)
    assert [plan.id for plan in list_plans(school.session, school.assignment.id, actor=SYSTEM)] == [
        preview.plan.id
    ]


def test_who_hands_in_while_a_preview_waits_is_graded_against_the_new_release_too(
    school: School,
) -> None:
    session = school.session
    school.hand_in("ps1", score=0.0)
    release = school.stage(source(expected=4))
    preview = school.plan(release)
    later = school.now + timedelta(minutes=1)
    graded = school.hand_in("ps1", score=0.0)
    waiting = school.submit(make_person(session), {"ps1.ipynb": b"{}"})
    queued = enqueue(session, waiting.id, now=later)
    elsewhere = school.hand_in("two")
    for shift in preview.shifts:
        assert shift.after is not None
        school.grade(shift.after, 2.0)
    apply_plan(session, school.blobs, preview.plan.id, actor=SYSTEM, now=later)
    assert queued.release_id == release.id
    again = session.scalars(
        select(Run).where(Run.submission_id == graded.id).order_by(Run.number.desc())
    ).first()
    assert again is not None
    assert (again.status, again.release_id) == (RunStatus.QUEUED, release.id)
    runs = session.scalars(select(Run).where(Run.submission_id == elsewhere.id)).all()
    assert [run.release_id for run in runs] == [None]


def test_an_attempt_that_is_stopped_by_the_new_tests_keeps_its_result(school: School) -> None:
    session = school.session
    stopped, wronged = school.hand_in("ps1", score=2.0), school.hand_in("ps1", score=0.0)
    preview = school.plan(school.stage(source(expected=4)))
    for shift in preview.shifts:
        assert shift.after is not None
        school.grade(shift.after, 2.0)
        if shift.submission.id == stopped.id:
            shift.after.status = RunStatus.TIMED_OUT
    preview = get_preview(session, preview.plan.id, actor=SYSTEM)
    assert (preview.failing, preview.gaining, preview.losing) == (1, 1, 0)
    apply_plan(session, school.blobs, preview.plan.id, actor=SYSTEM, now=school.now)
    assert [school.score(one) for one in (stopped, wronged)] == [4.0, 4.0]
    (before,) = (shift.before for shift in preview.shifts if shift.is_failed)
    newest = latest_run(session, stopped.id)
    assert newest is not None
    assert newest.id == before.id


def test_a_release_published_first_can_be_regraded_after(school: School) -> None:
    submission = school.hand_in("ps1", score=0.0)
    release = school.publish(source(expected=4))
    assert submission.release_id == school.first.id
    preview = school.plan(release)
    assert [shift.submission.id for shift in preview.shifts] == [submission.id]
