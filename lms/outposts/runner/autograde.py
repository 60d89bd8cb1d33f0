"""nbgrader's Autograde pipeline in its own order, around a sandboxed program."""

from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode
from nbgrader.converters import Autograde
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    Execute,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)
from traitlets.config import Config

from lms.outposts.runner.endings import Ending
from lms.outposts.runner.gradebook import SubmissionGradebook
from lms.outposts.runner.quiet import QUIET
from lms.outposts.runner.running import NotebookExecute, Started
from lms.outposts.runner.source import Settings
from lms.outposts.runner.steps import RestoreCells, SaveGrades
from lms.protocol.sentences import Sentence

#: Lateness is not a run's affair. The others look at metadata and kernel, which never come from a
#: submission: the release's were checked when it was built.
_LEFT_OUT = frozenset({AssignLatePenalties, CheckCellMetadata, OverwriteKernelspec})


@dataclass(frozen=True, slots=True, kw_only=True)
class Autograded:
    """How a run went that reached its end; its scores are in the gradebook."""

    stopped: Ending | None
    refused: tuple[Sentence, ...]


def autograde(
    notebook: NotebookNode,
    resources: dict[str, Any],
    start: Started,
    gradebook: SubmissionGradebook,
    settings: Settings,
) -> Autograded:
    """Run nbgrader's sanitising and grading preprocessors over `notebook`, in place.

    Raises RunStoppedError when the student's code ended the run, KernelStartError when none began.
    """
    for make in _kept(Autograde.sanitize_preprocessors):
        clean = RestoreCells(gradebook, log=QUIET) if make is OverwriteCells else make(log=QUIET)
        notebook, resources = clean(notebook, resources)
    saving = SaveGrades(gradebook)
    config = Config({owner: dict(traits) for owner, traits in settings.items()})
    executing = NotebookExecute(start)
    ours: dict[Any, Any] = {Execute: executing, SaveAutoGrades: saving}
    for make in _kept(Autograde.autograde_preprocessors):
        step = ours.get(make) or make(config=config, log=QUIET)
        notebook, resources = step(notebook, resources)
    return Autograded(stopped=executing.stopped, refused=tuple(saving.refused))


def _kept(trait: Any) -> list[Any]:  # noqa: ANN401 (a list of classes, kept in a trait)
    return [make for make in trait.default() if make not in _LEFT_OUT]
