"""nbgrader's Autograde pipeline in its own order, around a sandboxed kernel."""

from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode
from nbgrader.converters import Autograde
from nbgrader.preprocessors import AssignLatePenalties, Execute, SaveAutoGrades
from traitlets.config import Config

from lms.outposts.runner.endings import Ending
from lms.outposts.runner.execute import SandboxExecute
from lms.outposts.runner.kernel import SandboxKernel
from lms.outposts.runner.quiet import QUIET
from lms.outposts.runner.source import Settings
from lms.protocol.grading import Limits
from lms.protocol.sentences import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Autograded:
    """How a run went that reached its end; its scores are in the gradebook."""

    stopped: Ending | None
    refused: tuple[Sentence, ...]


class SaveGrades(SaveAutoGrades):
    """SaveAutoGrades that leaves one cell to a person where nbgrader stops the whole submission."""

    def __init__(self) -> None:
        super().__init__(log=QUIET)
        self.refused: list[Sentence] = []

    def _add_score(self, cell: NotebookNode, resources: Any) -> None:  # noqa: ANN401 (nbgrader's signature)
        try:
            super()._add_score(cell, resources)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            # determine_grade refuses more points than the cell has, and values without text.
            self.refused.append(
                sentence(
                    "The test %(cell)s gave a value that is no score; a person has to look at it.",
                    cell=str(cell.metadata.nbgrader["grade_id"]),
                )
            )


def autograde(
    notebook: NotebookNode,
    resources: dict[str, Any],
    kernel: SandboxKernel,
    limits: Limits,
    settings: Settings,
) -> Autograded:
    """Run nbgrader's sanitising and grading preprocessors over `notebook`, in place.

    Raises RunStoppedError when the student's code ended the run, KernelStartError when none began.
    """
    for make in Autograde.sanitize_preprocessors.default():
        notebook, resources = make(log=QUIET)(notebook, resources)
    saving = SaveGrades()
    config = Config({owner: dict(traits) for owner, traits in settings.items()})
    with kernel:
        executing = SandboxExecute(kernel, limits)
        ours: dict[Any, Any] = {Execute: executing, SaveAutoGrades: saving}
        for make in Autograde.autograde_preprocessors.default():
            if make is AssignLatePenalties:
                continue
            step = ours.get(make) or make(config=config, log=QUIET)
            notebook, resources = step(notebook, resources)
            if step is executing:
                kernel.kill()
    return Autograded(stopped=executing.stopped, refused=tuple(saving.refused))
