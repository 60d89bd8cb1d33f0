"""Results by what they follow from: the same bytes graded in the same way are not run twice.

A timeout, a crash or a memory kill may end otherwise the next time, and a run without a sandbox is
worth less than one with: none of them is ever kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from lms.foundation.blobs import digest_of
from lms.foundation.signing import canonical
from lms.grading.models import ResultCache, Run
from lms.grading.queue import Claim
from lms.grading.values import Finding
from lms.outposts.runner.version import ENGINE_VERSION, environment_digest
from lms.protocol.grading import Limits, RunStatus

_KEPT = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL, RunStatus.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything a result follows from; two equal recipes give the same result."""

    #: Digest of the instructor's files, by path.
    source: str
    #: Digest of the tests alone: what the points hang on.
    tests: str
    #: Digest of the submission's files.
    submission: str
    environment: str
    seed: int
    limits: Mapping[str, int]
    engine: str
    #: How integrity is found: "split" or "none".
    mode: str

    @property
    def key(self) -> str:
        """The digest of it all."""
        return digest_of(canonical(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "source": self.source,
            "tests": self.tests,
            "submission": self.submission,
            "environment": self.environment,
            "seed": self.seed,
            "limits": dict(self.limits),
            "engine": self.engine,
            "mode": self.mode,
        }


class Turn(StrEnum):
    """What a worker does with a claim."""

    #: Nobody has the result: run it.
    RUN = "run"
    #: Another run is finding it right now: ask again.
    WAIT = "wait"


def make_recipe(
    *,
    source: str,
    tests: str,
    submission: str,
    limits: Limits,
    seed: int = 0,
    mode: str = "split",
    requirements: str = "",
) -> Recipe:
    """Return the recipe of a run by this engine, in the environment of the requirements here."""
    return Recipe(
        source=source,
        tests=tests,
        submission=submission,
        environment=environment_digest(requirements),
        seed=seed,
        limits=asdict(limits),
        engine=ENGINE_VERSION,
        mode=mode,
    )


def begin(
    session: Session, recipe: Recipe, claim: Claim, *, now: datetime
) -> Turn | tuple[Finding, ...]:
    """Return the known findings, or whose turn it is to find them.

    A run that was asked for anew (Run.fresh) always runs.
    """
    run = session.get_one(Run, claim.run_id)
    if run.fresh:
        return Turn.RUN
    _reserve(session, recipe.key, claim.run_id, now)
    row = session.scalars(
        select(ResultCache)
        .where(ResultCache.key == recipe.key)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if row.findings is not None:
        return tuple(Finding.from_json(value) for value in row.findings)
    if row.run_id != claim.run_id and _is_at_work(session, row.run_id, now):
        return Turn.WAIT
    row.run_id, row.at = claim.run_id, now
    session.flush()
    return Turn.RUN


def _reserve(session: Session, key: str, run_id: int, now: datetime) -> None:
    # Two workers may come to the same bytes at once: one of them makes the row.
    values = {"key": key, "run_id": run_id, "at": now, "findings": None}
    session.execute(_insert(session).values(values).on_conflict_do_nothing())


def _insert(session: Session) -> postgresql.Insert | sqlite.Insert:
    """Return an insert that can say what to do when the key is known; each database has its own."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(ResultCache)
    return sqlite.insert(ResultCache)


def _is_at_work(session: Session, run_id: int, now: datetime) -> bool:
    run = session.get(Run, run_id, populate_existing=True)
    return (
        run is not None
        and run.status == RunStatus.RUNNING
        and run.lease_expires_at is not None
        and run.lease_expires_at >= now
    )


def remember(
    session: Session, recipe: Recipe, run: Run, findings: Sequence[Finding], *, now: datetime
) -> None:
    """Keep what a run found, if it can be kept; whoever waits for it goes on."""
    if run.unsafe or any(finding.result.status not in _KEPT for finding in findings):
        session.execute(
            delete(ResultCache).where(ResultCache.key == recipe.key, ResultCache.run_id == run.id)
        )
        return
    values = {
        "run_id": run.id,
        "at": now,
        "findings": [finding.to_json() for finding in findings],
    }
    session.execute(
        _insert(session)
        .values({"key": recipe.key, **values})
        .on_conflict_do_update(index_elements=[ResultCache.key], set_=values)
    )
