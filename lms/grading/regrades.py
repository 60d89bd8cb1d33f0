"""Regrading what a new release touches: grade aside, look at who gains or loses, then decide.

Until a plan is applied nothing changes for students: its runs are previews, and its release may be
one that nobody gets. Applying takes the previews' results as they are; nothing runs twice.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, selectinload

from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.publishing import publish_staged
from lms.exchange.models import Submission
from lms.foundation.blobs import BlobStore, digest_of
from lms.foundation.errors import ConflictError, NotFoundError
from lms.foundation.events import publish
from lms.foundation.signing import canonical
from lms.grading.audit import Act, append, decision_digest, new_salt
from lms.grading.events import RunApplied
from lms.grading.models import NotebookRun, RegradePlan, RegradePreview, ResultCache, Run
from lms.grading.queue import enqueue
from lms.grading.rules import PlanState
from lms.grading.touched import Comparison, Touched
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import sentence

_UNDER_WAY = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
_GRADED = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class CellShift:
    """One question's score before and after; None where it was not run or is not there."""

    notebook: str
    grade_id: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What the new release makes of one person's attempt."""

    submission: Submission
    person: Person
    offering_id: int
    before: Run
    #: The run against the new release; None when the plan was discarded before it ran.
    after: Run | None
    #: The questions whose scores differ; empty while the new run is under way.
    cells: tuple[CellShift, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the new run has ended."""
        return self.after is not None and self.after.status not in _UNDER_WAY

    @property
    def is_failed(self) -> bool:
        """Whether the new run was stopped where the old one was graded: the old result stays."""
        after = self.after
        return (
            after is not None
            and self.is_ready
            and after.status not in _GRADED
            and self.before.status in _GRADED
        )

    @property
    def difference(self) -> float:
        """Points won (or lost, below 0); 0 while the new run is under way, or when it failed."""
        if self.after is None or not self.is_ready or self.is_failed:
            return 0.0
        return (self.after.score or 0.0) - (self.before.score or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan, and what it would do to each touched attempt."""

    plan: RegradePlan
    release: Release
    shifts: tuple[Shift, ...]

    @property
    def waiting(self) -> int:
        """How many attempts have not been graded against the new release yet."""
        return sum(not shift.is_ready for shift in self.shifts)

    @property
    def gaining(self) -> int:
        """How many attempts get more points."""
        return sum(shift.difference > 0 for shift in self.shifts)

    @property
    def losing(self) -> int:
        """How many attempts get fewer points."""
        return sum(shift.difference < 0 for shift in self.shifts)

    @property
    def failing(self) -> int:
        """How many could not be graded against the new release and keep their result."""
        return sum(shift.is_failed for shift in self.shifts)

    @property
    def held(self) -> int:
        """How many of the new scores would wait for a person."""
        return sum(shift.after is not None and shift.after.held for shift in self.shifts)


def plan_regrade(
    session: Session, blobs: BlobStore, release: Release, *, actor: Actor, now: datetime
) -> RegradePlan:
    """Find what `release` touches and queue it all, behind everything else, as previews.

    Raises ConflictError while another plan for the assignment waits for a decision.
    """
    _require(session, release.assignment_id, actor)
    _refuse_second(session, release.assignment_id)
    touched = [
        one
        for one in Comparison(session=session, blobs=blobs, release=release).touched()
        if one.run.status not in _UNDER_WAY
    ]
    plan = RegradePlan(
        assignment_id=release.assignment_id,
        release_id=release.id,
        state=PlanState.GRADING,
        created_at=now,
        created_by=actor.person_id or None,
        salt=new_salt(),
        changes=_distinct(touched),
    )
    session.add(plan)
    session.flush()
    for one in touched:
        run = enqueue(session, one.submission.id, now=now, preview=True, release_id=release.id)
        session.add(
            RegradePreview(
                plan_id=plan.id,
                submission_id=one.submission.id,
                old_run_id=one.run.id,
                new_run_id=run.id,
            )
        )
    session.flush()
    return plan


def waiting_plan(session: Session, assignment_id: int) -> RegradePlan | None:
    """Return the assignment's regrade that waits for a decision."""
    return session.scalar(
        select(RegradePlan).where(
            RegradePlan.assignment_id == assignment_id, RegradePlan.state == PlanState.GRADING
        )
    )


def _refuse_second(session: Session, assignment_id: int) -> None:
    waiting = waiting_plan(session, assignment_id)
    if waiting is not None:
        raise ConflictError(
            sentence(
                "Regrade %(plan)s of this assignment waits for a decision: "
                "apply or discard it first.",
                plan=waiting.id,
            )
        )


def _distinct(touched: Iterable[Touched]) -> list[dict[str, str]]:
    found = dict.fromkeys(change for one in touched for change in one.changes)
    return [change.to_json() for change in found]


def list_plans(session: Session, assignment_id: int, *, actor: Actor) -> list[RegradePlan]:
    """Return an assignment's regrades, the newest first."""
    _require(session, assignment_id, actor)
    return list(
        session.scalars(
            select(RegradePlan)
            .where(RegradePlan.assignment_id == assignment_id)
            .order_by(RegradePlan.id.desc())
        )
    )


def get_preview(session: Session, plan_id: int, *, actor: Actor) -> Preview:
    """Return a plan and what it does to whom; people and attempts in order of offering and name."""
    plan = _get(session, plan_id, actor)
    return Preview(
        plan=plan,
        release=session.get_one(Release, plan.release_id),
        shifts=tuple(_shifts(session, plan)),
    )


def _shifts(session: Session, plan: RegradePlan) -> list[Shift]:
    rows = session.execute(
        select(RegradePreview, Submission, Person, OfferedAssignment.offering_id)
        .join(Submission, Submission.id == RegradePreview.submission_id)
        .join(Person, Person.id == Submission.person_id)
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .where(RegradePreview.plan_id == plan.id)
        .order_by(OfferedAssignment.offering_id, Person.display_name, Person.id, Submission.attempt)
    ).all()
    wanted = {id_ for row in rows for id_ in (row[0].old_run_id, row[0].new_run_id) if id_}
    runs = {run.id: run for run in _load(session, wanted)}
    return [
        Shift(
            submission=submission,
            person=person,
            offering_id=offering_id,
            before=runs[preview.old_run_id],
            after=runs.get(preview.new_run_id or 0),
            cells=_cell_shifts(runs[preview.old_run_id], runs.get(preview.new_run_id or 0)),
        )
        for preview, submission, person, offering_id in rows
    ]


def _load(session: Session, run_ids: set[int]) -> Iterable[Run]:
    return session.scalars(
        select(Run)
        .where(Run.id.in_(run_ids))
        .options(selectinload(Run.notebooks).selectinload(NotebookRun.cells))
        .execution_options(populate_existing=True)
    )


def _cell_shifts(before: Run, after: Run | None) -> tuple[CellShift, ...]:
    if after is None or after.status in _UNDER_WAY:
        return ()
    old, new = _cells(before), _cells(after)
    return tuple(
        CellShift(notebook=key[0], grade_id=key[1], before=old.get(key), after=new.get(key))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    )


def _cells(run: Run) -> dict[tuple[str, str], float | None]:
    return {
        (notebook.notebook, cell.grade_id): cell.auto_score
        for notebook in run.notebooks
        for cell in notebook.cells
    }


def apply_plan(
    session: Session, blobs: BlobStore, plan_id: int, *, actor: Actor, now: datetime
) -> Preview:
    """Publish the plan's release and make its previews the runs that count; nothing runs twice.

    An attempt whose new run was stopped keeps its old result. Whoever handed in since the preview
    is queued against the release. Raises ConflictError while previews are under way.
    """
    plan = _get(session, plan_id, actor, lock=True)
    preview = get_preview(session, plan.id, actor=actor)
    if preview.waiting:
        raise ConflictError(
            sentence(
                "%(count)s attempts have not been graded against the new release yet; "
                "wait for them, then apply.",
                count=preview.waiting,
            )
        )
    publish_staged(session, preview.release, actor=actor, now=now)
    runs = [shift.after for shift in preview.shifts if shift.after and not shift.is_failed]
    for run in runs:
        run.number, run.preview = _next_number(session, run.submission_id), False
        session.flush()
    # What came in, or was under way, since the preview.
    known = {shift.submission.id for shift in preview.shifts}
    queue_touched(session, blobs, preview.release, now=now, known=known)
    _decide(session, plan, PlanState.APPLIED, actor, now)
    names = sorted(str(run.audit_id) for run in runs)
    body = {
        "release": preview.release.digest,
        "runs": {"count": len(names), "digest": digest_of(canonical(names))},
        "decision": decision_of(plan),
    }
    append(session, Act.REGRADE_APPLIED, body, now=now)
    for run in runs:
        publish(session, RunApplied(run_id=run.id, submission_id=run.submission_id))
    return preview


def queue_touched(
    session: Session,
    blobs: BlobStore,
    release: Release,
    *,
    now: datetime,
    known: Collection[int] = (),
) -> int:
    """Have every submission that `release` touches graded against it, but for the `known` ones.

    The results count as soon as they are there. Returns how many.
    """
    count = 0
    for one in Comparison(session=session, blobs=blobs, release=release).touched():
        if one.submission.id in known:
            continue
        if one.run.status == RunStatus.QUEUED:
            one.run.release_id = release.id
        else:
            enqueue(session, one.submission.id, now=now, release_id=release.id)
        count += 1
    session.flush()
    return count


def discard_plan(session: Session, plan_id: int, *, actor: Actor, now: datetime) -> RegradePlan:
    """Drop a plan: every score stays as it is, and what waits in the queue for it goes."""
    plan = _get(session, plan_id, actor, lock=True)
    previews = session.scalars(
        select(RegradePreview).where(RegradePreview.plan_id == plan.id)
    ).all()
    waiting = set(
        session.scalars(
            select(Run.id)
            .where(Run.id.in_([one.new_run_id for one in previews]), Run.status == RunStatus.QUEUED)
            .with_for_update()
        )
    )
    for one in previews:
        if one.new_run_id in waiting:
            one.new_run_id = None
    session.flush()
    # One that was handed back may still have its name on a result that it was to find.
    session.execute(delete(ResultCache).where(ResultCache.run_id.in_(waiting)))
    session.execute(delete(Run).where(Run.id.in_(waiting)))
    _decide(session, plan, PlanState.DISCARDED, actor, now)
    append(session, Act.REGRADE_DISCARDED, {"decision": decision_of(plan)}, now=now)
    return plan


def _decide(
    session: Session, plan: RegradePlan, state: PlanState, actor: Actor, now: datetime
) -> None:
    plan.state, plan.decided_at, plan.decided_by = state, now, actor.person_id or None
    session.flush()


def decision_of(plan: RegradePlan) -> str:
    """Return the digest of a decision, as the audit log has it."""
    return decision_digest(
        plan.salt, plan=plan.id, state=plan.state, by=plan.decided_by, made_by=plan.created_by
    )


def _next_number(session: Session, submission_id: int) -> int:
    last = session.scalar(select(func.max(Run.number)).where(Run.submission_id == submission_id))
    return (last or 0) + 1


def _get(session: Session, plan_id: int, actor: Actor, *, lock: bool = False) -> RegradePlan:
    query = select(RegradePlan).where(RegradePlan.id == plan_id)
    plan = session.scalar(query.with_for_update() if lock else query)
    if plan is None:
        raise NotFoundError(sentence("There is no regrade %(plan)s.", plan=plan_id))
    _require(session, plan.assignment_id, actor)
    if lock and plan.state != PlanState.GRADING:
        raise ConflictError(sentence("This regrade has been applied or discarded already."))
    return plan


def _require(session: Session, assignment_id: int, actor: Actor) -> None:
    """Ask for the scope in every offering of the assignment: the release goes to all of them."""
    session.get_one(Assignment, assignment_id)
    offerings = session.scalars(
        select(OfferedAssignment.offering_id).where(
            OfferedAssignment.assignment_id == assignment_id
        )
    ).all()
    if not offerings:
        actor.require("submission:regrade")
    for offering_id in offerings:
        actor.require("submission:regrade", offering_id)
