"""Submissions graded in one process and judged by the split run, without the rooms around it."""

import contextlib
import copy
from dataclasses import dataclass

from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.autograde import autograde
from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.files import read_submission
from lms.outposts.runner.grade import prepared
from lms.outposts.runner.gradebook import SubmissionGradebook, resources_for
from lms.outposts.runner.integrity import IntegrityReport, Notebooks, verify
from lms.outposts.runner.merge import merge
from lms.outposts.runner.notebooks import read_source, read_submitted
from lms.outposts.runner.running import Started
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits

LIMITS = Limits(cell_seconds=10, wall_seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedNotebook:
    """One notebook's scores and the verdict on them."""

    scores: dict[str, float | None]
    report: IntegrityReport


def judge(
    source: AssignmentSource,
    submission: dict[str, bytes],
    launcher: KernelLauncher,
    limits: Limits = LIMITS,
) -> dict[str, JudgedNotebook]:
    """Grade a submission and return its notebooks by name."""
    release = prepared(source)
    files = read_submission(submission)
    found = {}
    for facts in release.notebooks:
        name = facts.name
        merged = merge(release.released[name], read_submitted(files.notebooks[name])).notebook
        executed = copy.deepcopy(merged)
        start = Started(
            launcher=launcher, files=release.data_files, limits=limits, seed=0, fonts={}
        )
        gradebook = SubmissionGradebook(release.gradebook)
        with contextlib.suppress(RunStoppedError):
            autograde(executed, resources_for(release.name, name), start, gradebook, {})
        grades = gradebook.find_submission_notebook(name).grades
        scores = {key: grade.auto_score for key, grade in grades.items()}
        reference, _ = read_source(name, release.instructor_files[f"{name}.ipynb"])
        notebooks = Notebooks(
            source=reference,
            released=release.released[name],
            merged=merged,
            executed=executed,
        )
        report = verify(notebooks, scores, start)
        found[name] = JudgedNotebook(scores=scores, report=report)
    return found
