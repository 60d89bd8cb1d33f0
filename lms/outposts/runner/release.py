"""An instructor's folder becomes a release, through nbgrader's own GenerateAssignment pipeline."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from lms.outposts.environments.identity import kernel_name as environment_kernel
from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.files import is_any_notebook, is_top_notebook, notebook_name
from lms.outposts.runner.gradebook import ReleaseGradebook, resources_for
from lms.outposts.runner.notebooks import KERNELSPEC, problem_of, read_source
from lms.outposts.runner.quiet import QUIET
from lms.outposts.runner.source import (
    CONFIG_FILE,
    AssignmentSource,
    Settings,
    load_source,
    settings_of,
)
from lms.protocol.sentences import sentence

_AUTOTEST = "AUTOTEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookFacts:
    """What a catalogue or a check says about one notebook; points as nbgrader counts them."""

    name: str
    #: Cells that earn points: tests, written answers and tasks.
    cells: int
    points: float
    #: The share of `points` that only a person can give.
    manual_points: float
    #: nbgrader's metadata schema in the source; below the current one it was upgraded here.
    schema_version: int
    #: The kernel the source asks for; the release always asks for python3.
    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltRelease:
    """A release: what students get, what graders need, and nbgrader's record of it."""

    name: str
    student_files: dict[str, bytes]
    instructor_files: dict[str, bytes]
    notebooks: tuple[NotebookFacts, ...]
    #: What tells this release from others: a digest of name and files.
    digest: str
    #: nbgrader's record of the assignment; not part of the release.
    gradebook: ReleaseGradebook
    #: The released notebooks as nodes, by name, and the instructor's with their solutions.
    released: Mapping[str, NotebookNode]
    sources: Mapping[str, NotebookNode]
    #: Digest of the requirements it runs with; empty: the default environment.
    environment: str = ""

    @property
    def points(self) -> float:
        """The most points the assignment gives."""
        return sum(facts.points for facts in self.notebooks)

    @property
    def manual_points(self) -> float:
        """The points that need a person."""
        return sum(facts.manual_points for facts in self.notebooks)

    @property
    def data_files(self) -> dict[str, bytes]:
        """The instructor's files that are no notebooks: what a notebook finds beside it."""
        return {path: content for path, content in self.instructor_files.items() if _is_data(path)}


def build_release(assignment_dir: Path) -> BuiltRelease:
    """Build the release of an instructor's folder; the same bytes give the same release.

    Raises ReleaseError with what has to be mended.
    """
    return build(load_source(assignment_dir))


def build(source: AssignmentSource) -> BuiltRelease:
    """Build the release of `source`; raises ReleaseError with what has to be mended."""
    paths = sorted(path for path in source.files if is_top_notebook(path))
    if not paths:
        raise ReleaseError(
            sentence("%(assignment)s holds no notebook.", assignment=source.name),
        )
    settings = settings_of(source.files)
    released: dict[str, NotebookNode] = {}
    sources: dict[str, NotebookNode] = {}
    facts: list[NotebookFacts] = []
    gradebook = ReleaseGradebook()
    for path in paths:
        name = notebook_name(path)
        node, schema = read_source(name, source.files[path])
        sources[name] = copy.deepcopy(node)
        kernel = kernel_name(node)
        resources = resources_for(source.name, name)
        released[name] = _released(name, node, settings, gradebook, resources)
        facts.append(_facts(name, released[name], schema, kernel))
    student = {f"{name}.ipynb": to_bytes(node) for name, node in released.items()}
    data = {path: content for path, content in source.files.items() if _is_data(path)}
    return BuiltRelease(
        name=source.name,
        digest=source.digest(),
        student_files=dict(sorted((student | data).items())),
        instructor_files=dict(sorted(source.files.items())),
        notebooks=tuple(facts),
        gradebook=gradebook,
        released=released,
        sources=sources,
    )


def with_environment(built: BuiltRelease, requirements: str, course: str) -> BuiltRelease:
    """Return the release for an environment: its notebooks ask for the kernel of that."""
    named = {
        path: with_kernel(content, requirements, course) if is_top_notebook(path) else content
        for path, content in built.student_files.items()
    }
    return replace(built, student_files=named, environment=requirements)


def with_kernel(notebook: bytes, requirements: str, course: str) -> bytes:
    """Return a notebook that asks for the kernel of an environment; a broken one stays as it is."""
    try:
        node = json.loads(notebook)
        spec = {"display_name": f"Python 3 ({course})", "name": environment_kernel(requirements)}
        node["metadata"]["kernelspec"] = {**KERNELSPEC, **spec}
    except (ValueError, KeyError, TypeError, RecursionError):
        return notebook
    return (json.dumps(node, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def kernel_name(node: NotebookNode) -> str:
    """Return the kernel a notebook asks for, or an empty string."""
    spec = node.metadata.get("kernelspec")
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else ""


def language(node: NotebookNode) -> str:
    """Return the language a notebook says it is in; Python when it says nothing."""
    spec = node.metadata.get("kernelspec")
    named = spec.get("language") if isinstance(spec, dict) else None
    if not isinstance(named, str) or not named:
        info = node.metadata.get("language_info")
        named = info.get("name") if isinstance(info, dict) else None
    return named if isinstance(named, str) and named else "python"


def _is_data(path: str) -> bool:
    return not is_any_notebook(path) and path != CONFIG_FILE


def _released(
    name: str,
    node: NotebookNode,
    settings: Settings,
    gradebook: ReleaseGradebook,
    resources: dict[str, Any],
) -> NotebookNode:
    if language(node).lower() not in {"python", "python3", "ipython"}:
        raise ReleaseError(
            sentence(
                "%(notebook)s: notebooks in %(language)s cannot be graded here, only Python.",
                notebook=name,
                language=language(node),
            ),
        )
    # Courses in the wild ask for `python`, `rt_grader` or `Python [Root]`; there is one kernel.
    node.metadata["kernelspec"] = copy.deepcopy(KERNELSPEC)
    node = NotebookNode(node)
    try:
        for preprocessor in _pipeline(node, settings, gradebook):
            node, resources = preprocessor(node, resources)
    except Exception as error:  # nbgrader raises RuntimeError, ValueError, ValidationError and more
        raise ReleaseError(problem_of(name, error)) from error
    return node


def _pipeline(node: NotebookNode, settings: Settings, gradebook: ReleaseGradebook) -> list[Any]:
    """Return GenerateAssignment's own preprocessors, less those that have nothing to do."""
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import IncludeHeaderFooter, InstantiateTests, SaveCells

    if any(_AUTOTEST in cell.source for cell in node.cells if cell.cell_type == "code"):
        # InstantiateTests would run the instructor's code in this process's own kernel.
        raise ValueError("AUTOTEST lines have to be turned into tests before publishing")
    from traitlets.config import Config

    from lms.outposts.runner.steps import RecordCells

    without = {IncludeHeaderFooter, InstantiateTests}
    config = Config({owner: dict(traits) for owner, traits in settings.items()})
    makers = GenerateAssignment.preprocessors.default()
    return [
        RecordCells(gradebook, config=config, log=QUIET)
        if make is SaveCells
        else make(config=config, log=QUIET)
        for make in makers
        if make not in without
    ]


def _facts(name: str, node: NotebookNode, schema: int, kernel: str) -> NotebookFacts:
    graded = graded_cells(node)
    points = {cell.metadata.nbgrader.grade_id: points_of(cell) for cell in graded}
    manual = sum(points_of(cell) for cell in graded if is_manual(cell))
    return NotebookFacts(
        name=name,
        cells=len(graded),
        points=sum(points.values()),
        manual_points=manual,
        schema_version=schema,
        kernel=kernel,
    )


def graded_cells(node: NotebookNode) -> list[NotebookNode]:
    """Return the cells that earn points, in order."""
    from nbgrader import utils

    return [cell for cell in node.cells if utils.is_grade(cell) or utils.is_task(cell)]


def is_manual(cell: NotebookNode) -> bool:
    """Say whether only a person can score this graded cell."""
    from nbgrader import utils

    return bool(utils.is_task(cell) or utils.is_solution(cell) or cell.cell_type != "code")


def points_of(cell: NotebookNode) -> float:
    """Return what a graded cell is worth."""
    return float(cell.metadata.nbgrader.get("points", 0.0))


def to_bytes(node: NotebookNode) -> bytes:
    """Write a notebook as Jupyter does; the same node gives the same bytes."""
    return (json.dumps(node, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
