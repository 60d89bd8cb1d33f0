"""Grading as a pure function: a source, a submission, a seed and limits give a result.

The trusted side is here. For each notebook: read what was handed in, merge its answers into the
release, run that as nbgrader would, in a sandbox; verify the scores where the answers cannot reach
the tests; write the feedback. A late penalty is no part of this; it belongs to the gradebook room.
"""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nbformat import NotebookNode

from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.errors import RunStoppedError, SubmissionError
from lms.outposts.runner.files import SubmittedFiles, read_submission
from lms.outposts.runner.gradebook import (
    SubmissionGradebook,
    SubmittedNotebook,
    resources_for,
)
from lms.outposts.runner.merge import merge
from lms.outposts.runner.notebooks import SubmittedCell, read_submitted
from lms.outposts.runner.release import (
    BuiltRelease,
    NotebookFacts,
    build,
    graded_cells,
    points_of,
)
from lms.outposts.runner.source import AssignmentSource, settings_of
from lms.protocol.grading import CellResult, Detail, Integrity, Limits, NotebookResult, RunStatus
from lms.protocol.sentences import Sentence, sentence

if TYPE_CHECKING:
    from lms.outposts.runner.integrity import IntegrityReport
    from lms.outposts.runner.running import Started

_KEPT_RELEASES = 16
_LOG = logging.getLogger("lms.runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookOutcome:
    """A notebook's result, and what a person may read: the graded notebook and its feedback."""

    result: NotebookResult
    autograded: bytes | None = None
    feedback_html: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What every notebook of one submission shares."""

    release: BuiltRelease
    gradebook: SubmissionGradebook
    limits: Limits
    launcher: KernelLauncher
    seed: int
    verify: bool


def grade_submission(
    source: AssignmentSource,
    submission: Mapping[str, bytes] | Path,
    *,
    limits: Limits,
    launcher: KernelLauncher,
    seed: int = 0,
    verify: bool = True,
) -> tuple[NotebookOutcome, ...]:
    """Grade every notebook of `source` in `submission`; one bad notebook never stops another.

    Without `verify` there is a score, and nothing is said about how far to trust it.
    Raises ReleaseError when the source itself is broken, KernelStartError when no kernel comes up,
    and whatever the launcher raises where it has no sandbox.
    """
    release = prepared(source)
    files = read_submission(submission)
    gradebook = SubmissionGradebook(release.gradebook)
    run = _Run(
        release=release,
        gradebook=gradebook,
        limits=limits,
        launcher=launcher,
        seed=seed,
        verify=verify,
    )
    return tuple(_grade_notebook(run, files, facts) for facts in release.notebooks)


class _Releases:
    """The last few releases built in this process: a class hands in the same assignment."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, BuiltRelease] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: AssignmentSource) -> BuiltRelease:
        """Return the release of `source`, built now or before."""
        digest = source.digest()
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        release = build(source)
        with self._lock:
            self._kept[digest] = release
            while len(self._kept) > _KEPT_RELEASES:
                self._kept.popitem(last=False)
        return release


_RELEASES = _Releases()


def prepared(source: AssignmentSource) -> BuiltRelease:
    """Return the release of `source`, from memory if it was built before; raises ReleaseError."""
    return _RELEASES.get(source)


def _grade_notebook(run: _Run, files: SubmittedFiles, facts: NotebookFacts) -> NotebookOutcome:
    name = facts.name
    if name in files.refused:
        return _not_run(run, name, RunStatus.REJECTED, files.refused[name])
    if name not in files.notebooks:
        return _missing(run, files, name)
    try:
        submitted = read_submitted(files.notebooks[name])
        merged = merge(run.release.released[name], submitted)
    except SubmissionError as error:
        return _not_run(run, name, RunStatus.REJECTED, error.sentence)
    notebook, start = merged.notebook, _started(run, merged.notebook)
    remarks = (*merged.remarks, *_unused_modules(run.release, files))
    result = _run_notebook(run, name, notebook, start, remarks)
    result, shown = _verified(run, submitted, notebook, start, result)
    return NotebookOutcome(
        result=result,
        autograded=_written(notebook),
        feedback_html=_feedback(run, shown, result),
    )


def _written(notebook: NotebookNode) -> bytes:
    """Write a graded notebook; in one line, since indenting takes several times as long."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True).encode()


def _unused_modules(release: BuiltRelease, files: SubmittedFiles) -> list[Sentence]:
    """Say which of the student's own Python files was left out; fetched ones are the release's."""
    own = [path for path in files.modules if path not in release.student_files]
    return [
        sentence("%(file)s was not used: only notebooks are graded.", file=path) for path in own[:1]
    ]


def _missing(run: _Run, files: SubmittedFiles, name: str) -> NotebookOutcome:
    """Give zero, as nbgrader does, for a notebook that is not there; reject an empty submission."""
    expected = {facts.name for facts in run.release.notebooks}
    if not expected & {*files.notebooks, *files.refused}:
        reason = sentence(
            "The submission holds no notebook of this assignment; %(notebook)s.ipynb was expected.",
            notebook=name,
        )
        return _not_run(run, name, RunStatus.REJECTED, reason)
    for grade in run.gradebook.find_submission_notebook(name).grades.values():
        grade.auto_score = 0
        grade.needs_manual_grade = False
    reason = sentence("%(notebook)s.ipynb is not in the submission.", notebook=name)
    return _not_run(run, name, RunStatus.GRADED, reason)


def _not_run(run: _Run, name: str, status: RunStatus, reason: Sentence) -> NotebookOutcome:
    from lms.outposts.runner.feedback import page

    result = _result(run, name, status, reason)
    return NotebookOutcome(result=result, feedback_html=page(result))


def _run_notebook(
    run: _Run, name: str, notebook: NotebookNode, start: "Started", remarks: tuple[Sentence, ...]
) -> NotebookResult:
    from lms.outposts.runner.autograde import autograde

    resources = resources_for(run.release.name, name)
    status, reason, detail = RunStatus.GRADED, next(iter(remarks), None), None
    try:
        settings = settings_of(run.release.instructor_files)
        graded = autograde(notebook, resources, start, run.gradebook, settings)
    except RunStoppedError as error:
        status, reason, detail = error.status, error.sentence, error.detail
    else:
        if graded.stopped is not None:
            ending = graded.stopped
            status, reason, detail = ending.status, ending.sentence, ending.detail
        elif graded.refused:
            status, reason = RunStatus.NEEDS_MANUAL, graded.refused[0]
            detail = Detail(cell=str(reason.facts["cell"]))
    return replace(_result(run, name, status, reason), detail=detail)


def _started(run: _Run, notebook: NotebookNode) -> "Started":
    from lms.outposts.runner.fonts import FONTS, needs_fonts
    from lms.outposts.runner.running import Started

    return Started(
        launcher=run.launcher,
        files=run.release.data_files,
        limits=run.limits,
        seed=run.seed,
        fonts=FONTS.files() if needs_fonts(notebook) else {},
    )


def _verified(
    run: _Run,
    submitted: Sequence[SubmittedCell],
    executed: NotebookNode,
    start: "Started",
    result: NotebookResult,
) -> tuple[NotebookResult, NotebookNode]:
    """Say how far the scores can be trusted; return the notebook that feedback may show, too."""
    from lms.outposts.runner.integrity import Notebooks, plan_shown, run_apart, verify

    released = run.release.released[result.notebook]
    # Made again: in the one that ran there are hidden tests by now.
    merged = merge(released, submitted).notebook
    scores = {cell.grade_id: cell.auto_score for cell in result.cells}
    plan = plan_shown(merged, executed, scores)
    if not run.verify:
        return result, plan.shown({})
    notebooks = Notebooks(
        source=run.release.sources[result.notebook],
        released=released,
        merged=merged,
        executed=executed,
    )
    with run_apart(plan, start) as apart:
        report = verify(notebooks, scores, start, apart)
    return _judged(result, report), plan.shown(apart.outputs)


def _judged(result: NotebookResult, report: "IntegrityReport") -> NotebookResult:
    verdicts = [report.cells.get(cell.grade_id) for cell in result.cells]
    return replace(
        result,
        integrity=report.integrity,
        integrity_reason=report.reason,
        cells=tuple(
            replace(cell, integrity=verdict.integrity, integrity_reason=verdict.reason)
            if verdict
            else cell
            for cell, verdict in zip(result.cells, verdicts, strict=True)
        ),
    )


def _feedback(run: _Run, notebook: NotebookNode, result: NotebookResult) -> bytes:
    from lms.outposts.runner.feedback import page, render_feedback

    name = result.notebook
    try:
        return render_feedback(notebook, run.release, run.gradebook, result)
    except Exception:  # noqa: BLE001 (what a kernel sent must not cost a student the score)
        _LOG.exception("feedback on %s could not be written", name)
        return page(result)


def _result(run: _Run, name: str, status: RunStatus, reason: Sentence | None) -> NotebookResult:
    """Read the result out of the gradebook; it alone adds up."""
    submitted = run.gradebook.find_submission_notebook(name)
    cells = tuple(_cell(cell, submitted) for cell in graded_cells(run.release.released[name]))
    waiting = sum(cell.needs_manual for cell in cells)
    if status is RunStatus.GRADED and waiting:
        status = RunStatus.NEEDS_MANUAL
        reason = reason or sentence("A person has to score %(count)s of the cells.", count=waiting)
    return NotebookResult(
        notebook=name,
        status=status,
        # Nobody forges a zero; whatever else was scored has yet to be verified.
        integrity=Integrity.UNVERIFIED if submitted.score else Integrity.VERIFIED,
        score=submitted.score,
        max_score=submitted.max_score,
        reason=reason,
        cells=cells,
    )


def _cell(cell: NotebookNode, submitted: SubmittedNotebook) -> CellResult:
    grade_id = str(cell.metadata.nbgrader.grade_id)
    grade, comment = submitted.grades[grade_id], submitted.comments.get(grade_id)
    return CellResult(
        grade_id=grade_id,
        auto_score=None if grade.auto_score is None else float(grade.auto_score),
        max_score=points_of(cell),
        needs_manual=grade.needs_manual_grade,
        comment=None if comment is None else comment.comment,
    )
