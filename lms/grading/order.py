"""The order of the queue: exams first, then whose turn it is among the offerings, then the oldest.

Within a priority the next run is the oldest of the offering that has the fewest runs of that
priority under way, so that five thousand submissions at one deadline never keep another offering's
single one waiting. Every question here is answered from one index, whatever the queue's length.
"""

import functools
import heapq
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, Select, and_, bindparam, func, select
from sqlalchemy.orm import Session

from lms.grading.models import Run
from lms.protocol.grading import RunStatus

_Head = tuple[int, datetime, int]


def next_runs(session: Session, *, resource: str, count: int) -> list[int]:
    """Return the ids of the next `count` queued runs for workers of a resource, in order."""
    chosen: list[int] = []
    priority = _next_priority(session, resource, below=None)
    while priority is not None and len(chosen) < count:
        chosen += _turns(session, resource, priority, count - len(chosen))
        priority = _next_priority(session, resource, below=priority)
    return chosen


def position(session: Session, run: Run) -> int:
    """Return how many runs would be claimed before a queued one if none ended meanwhile."""
    ahead = _count(
        session,
        Run.status == RunStatus.QUEUED,
        Run.resource == run.resource,
        Run.priority > run.priority,
    )
    line = _line(run.resource, run.priority)
    own = _count(session, line, Run.offering_id == run.offering_id, _is_older(run))
    running = _running(session, run.resource, run.priority)
    # An offering's k-th waiting run has its turn when k of it and those under way were served.
    turn = running.get(run.offering_id, 0) + own
    waiting = session.execute(
        select(Run.offering_id, func.count())
        .where(line, Run.offering_id != run.offering_id)
        .group_by(Run.offering_id)
    )
    ahead += own
    for offering, count in waiting.all():
        before = turn - running.get(offering, 0)
        ahead += min(count, max(before, 0))
        if 0 <= before < count:
            ahead += _is_older_at(session, run, offering, before)
    return ahead


def _turns(session: Session, resource: str, priority: int, count: int) -> Iterator[int]:
    """Yield up to `count` runs of a priority, in the order in which they have their turn."""
    running = _running(session, resource, priority)
    waiting = [
        (running.get(offering, 0), queued_at, run_id, offering)
        for offering, queued_at, run_id in _heads(session, resource, priority)
    ]
    heapq.heapify(waiting)
    followers: dict[int, Iterator[_Head]] = {}
    for _ in range(count):
        if not waiting:
            return
        load, _queued_at, run_id, offering = heapq.heappop(waiting)
        yield run_id
        if offering not in followers:
            followers[offering] = _followers(session, resource, priority, offering, count)
        for _offering, queued_at, follower in followers[offering]:
            heapq.heappush(waiting, (load + 1, queued_at, follower, offering))
            break


def _heads(session: Session, resource: str, priority: int) -> list[_Head]:
    """Return the oldest queued run of every offering that has one."""
    found = session.scalars(_heads_query(), {"resource": resource, "priority": priority})
    # Joined by hand: PostgreSQL expects a hundred offerings and would read the table for them.
    ids = list(filter(None, found))
    rows = session.execute(
        select(Run.offering_id, Run.queued_at, Run.id).where(Run.id.in_(ids))
    ).all()
    return [(row[0], row[1], row[2]) for row in rows]


@functools.cache
def _heads_query() -> Select[tuple[int | None]]:
    """Go from offering to offering by the index, and in each to its oldest.

    Reading all that is queued would cost more the longer the queue is. Made once: to put it
    together takes longer than to run it.
    """
    one, later, oldest = (Run.__table__.alias(name) for name in ("one", "later", "oldest"))

    def queued(run: FromClause) -> ColumnElement[bool]:
        return and_(
            run.c.status == RunStatus.QUEUED,
            run.c.resource == bindparam("resource"),
            run.c.priority == bindparam("priority"),
        )

    offerings = select(func.min(one.c.offering_id).label("id")).where(queued(one))
    line = offerings.cte("line", recursive=True)
    follows = (
        select(func.min(later.c.offering_id))
        .where(queued(later), later.c.offering_id > line.c.id)
        .scalar_subquery()
    )
    line = line.union_all(select(follows).where(line.c.id.is_not(None)))
    head = (
        select(oldest.c.id)
        .where(queued(oldest), oldest.c.offering_id == line.c.id)
        .order_by(oldest.c.queued_at, oldest.c.id)
        .limit(1)
        .scalar_subquery()
    )
    return select(head).select_from(line)


def _followers(
    session: Session, resource: str, priority: int, offering: int, count: int
) -> Iterator[_Head]:
    if count <= 1:
        return
    rows = session.execute(
        select(Run.offering_id, Run.queued_at, Run.id)
        .where(_line(resource, priority), Run.offering_id == offering)
        .order_by(Run.queued_at, Run.id)
        .offset(1)
        .limit(count - 1)
    )
    yield from ((row[0], row[1], row[2]) for row in rows)


def _is_older_at(session: Session, run: Run, offering: int, index: int) -> bool:
    """Say whether the offering's waiting run at `index` is older than `run`."""
    row = session.execute(
        select(Run.queued_at, Run.id)
        .where(_line(run.resource, run.priority), Run.offering_id == offering)
        .order_by(Run.queued_at, Run.id)
        .offset(index)
        .limit(1)
    ).one()
    return (row.queued_at, row.id) < (run.queued_at, run.id)


def _next_priority(session: Session, resource: str, *, below: int | None) -> int | None:
    found = select(func.max(Run.priority)).where(
        Run.status == RunStatus.QUEUED, Run.resource == resource
    )
    return session.scalar(found if below is None else found.where(Run.priority < below))


def _running(session: Session, resource: str, priority: int) -> dict[int, int]:
    rows = session.execute(
        select(Run.offering_id, func.count())
        .where(_line(resource, priority, RunStatus.RUNNING))
        .group_by(Run.offering_id)
    )
    return {row[0]: row[1] for row in rows}


def _count(session: Session, *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Run).where(*where)) or 0


def _line(
    resource: str, priority: int, status: RunStatus = RunStatus.QUEUED
) -> ColumnElement[bool]:
    return and_(Run.status == status, Run.resource == resource, Run.priority == priority)


def _is_older(run: Run) -> ColumnElement[bool]:
    return (Run.queued_at < run.queued_at) | ((Run.queued_at == run.queued_at) & (Run.id < run.id))
