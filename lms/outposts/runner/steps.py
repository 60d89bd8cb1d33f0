"""nbgrader's preprocessors on a gradebook in memory.

What each does with a cell is nbgrader's own code; only the opening of a database is gone.
"""

from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import (
    GetGrades,
    NbGraderPreprocessor,
    OverwriteCells,
    SaveAutoGrades,
    SaveCells,
)

from lms.outposts.runner.gradebook import SubmissionGradebook, SubmittedNotebook
from lms.outposts.runner.quiet import QUIET
from lms.protocol.sentences import Sentence, sentence

Resources = Any  # nbconvert's mixture of dictionaries


class _OnGradebook(NbGraderPreprocessor):
    """Mixed in before a preprocessor of nbgrader's, whose `preprocess` would open a database."""

    def __init__(
        self,
        gradebook: Any,  # noqa: ANN401 (a release's or a submission's)
        **settings: Any,  # noqa: ANN401 (traits)
    ) -> None:
        super().__init__(**settings)
        self.gradebook = gradebook

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Go through the cells."""
        told = resources["nbgrader"]
        self.notebook_id = told["notebook"]
        self.assignment_id = told["assignment"]
        self.student_id = told["student"]
        done: tuple[NotebookNode, Resources] = NbGraderPreprocessor.preprocess(self, nb, resources)
        return done


class RecordCells(_OnGradebook, SaveCells):
    """Records what a release's cells are worth and what they hold."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Record the notebook's cells."""
        self.new_grade_cells: dict[str, dict[str, Any]] = {}
        self.new_solution_cells: dict[str, dict[str, Any]] = {}
        self.new_task_cells: dict[str, dict[str, Any]] = {}
        self.new_source_cells: dict[str, dict[str, Any]] = {}
        nb, resources = super().preprocess(nb, resources)
        self._create_notebook(nb)
        return nb, resources


class RestoreCells(_OnGradebook, OverwriteCells):
    """Puts the release's tests, hidden ones too, where a submission has the shown ones."""


class SaveGrades(_OnGradebook, SaveAutoGrades):
    """Scores cells; one that nbgrader would stop the whole submission for is left to a person."""

    def __init__(self, gradebook: SubmissionGradebook) -> None:
        super().__init__(gradebook, log=QUIET)
        self.refused: list[Sentence] = []

    def _add_score(self, cell: NotebookNode, resources: Resources) -> None:
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


class ShowGrades(_OnGradebook, GetGrades):
    """Writes scores and comments into a notebook for feedback to show."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Fill in the cells, and the notebook's score in `resources`."""
        nb, resources = super().preprocess(nb, resources)
        submitted: SubmittedNotebook = self.gradebook.find_submission_notebook(self.notebook_id)
        resources["nbgrader"]["score"] = submitted.score
        resources["nbgrader"]["max_score"] = submitted.max_score
        resources["nbgrader"]["late_penalty"] = 0
        return nb, resources
