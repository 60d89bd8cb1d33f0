"""Finding runs: the newest of each submission, its results, its place in the queue."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from lms.grading.models import NotebookRun, Run
from lms.grading.order import position


def latest_run(session: Session, submission_id: int) -> Run | None:
    """Return the newest run of the submission; a preview is nobody's run."""
    return runs_of(session, [submission_id]).get(submission_id)


def runs_of(session: Session, submission_ids: Iterable[int]) -> dict[int, Run]:
    """Return the newest run of each submission, by submission; previews do not count."""
    wanted = list(submission_ids)
    if not wanted:
        return {}
    newest = (
        select(Run.submission_id, func.max(Run.number).label("number"))
        .where(Run.submission_id.in_(wanted), Run.preview.is_(False))
        .group_by(Run.submission_id)
        .subquery()
    )
    runs = session.scalars(
        select(Run).join(
            newest,
            (newest.c.submission_id == Run.submission_id) & (newest.c.number == Run.number),
        )
    )
    return {run.submission_id: run for run in runs}


def load_results(session: Session, run: Run) -> None:
    """Load a run's notebooks and their cells at once, for a page that shows all of them."""
    session.execute(
        select(Run)
        .where(Run.id == run.id)
        .options(selectinload(Run.notebooks).selectinload(NotebookRun.cells))
        .execution_options(populate_existing=True)
    ).scalars().all()


def queue_position(session: Session, run: Run) -> int:
    """Return how many runs are ahead of a queued one as things stand; 0 means it is next."""
    return position(session, run)
