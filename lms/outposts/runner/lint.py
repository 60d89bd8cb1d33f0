"""What can be said of an assignment without running it."""

import re
from collections import Counter
from collections.abc import Iterator

from nbformat import NotebookNode

from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.files import is_any_notebook, is_top_notebook, notebook_name
from lms.outposts.runner.notebooks import read_source
from lms.outposts.runner.reading import missing_files
from lms.outposts.runner.release import BuiltRelease, kernel_name, language
from lms.outposts.runner.report import Problem
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.sentences import sentence

#: Templates by which check.py knows these two again.
DOUBLED = sentence("%(count)s cells share the grade_id %(grade_id)s; each needs its own.").template
MISSING = sentence("The data file %(file)s is read but is not in the assignment's folder.").template
_MARKERS = ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME")
_KERNELS = frozenset({"python3", "python"})
_SCHEMA = 3
_PYTHON = frozenset({"python", "python3", "ipython"})
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)[^)]*\)")


def lint(source: AssignmentSource) -> Iterator[Problem]:
    """Yield what is wrong or odd in an assignment's files."""
    for path in sorted(path for path in source.files if is_top_notebook(path)):
        name = notebook_name(path)
        try:
            node, schema = read_source(name, source.files[path])
        except ReleaseError as error:
            yield Problem(severity="error", where=name, message=error.sentence)
            continue
        yield from _kernel(name, node)
        if schema < _SCHEMA:
            yield Problem(
                severity="warning",
                where=name,
                message=sentence(
                    "The nbgrader metadata has the old version %(version)s; it was read as version"
                    " %(current)s. Run nbgrader update to keep it that way.",
                    version=schema,
                    current=_SCHEMA,
                ),
            )
        yield from _doubled_ids(name, node)
        yield from _missing(name, node, source)


def _kernel(name: str, node: NotebookNode) -> Iterator[Problem]:
    kernel, spoken = kernel_name(node), language(node)
    if spoken.lower() not in _PYTHON:
        yield Problem(
            severity="error",
            where=name,
            message=sentence(
                "The kernel %(kernel)s (%(language)s) is unknown here; only Python is graded.",
                kernel=kernel or "?",
                language=spoken,
            ),
        )
    elif kernel and kernel not in _KERNELS:
        yield Problem(
            severity="warning",
            where=name,
            message=sentence(
                "The kernel %(kernel)s is unknown here; python3 is used in its place.",
                kernel=kernel,
            ),
        )
    elif not kernel:
        yield Problem(
            severity="warning",
            where=name,
            message=sentence("The notebook names no kernel; python3 is used."),
        )


def _doubled_ids(name: str, node: NotebookNode) -> Iterator[Problem]:
    ids = Counter(
        cell.metadata["nbgrader"].get("grade_id")
        for cell in node.cells
        if "nbgrader" in cell.metadata
        and any(
            cell.metadata["nbgrader"].get(flag) for flag in ("grade", "solution", "locked", "task")
        )
    )
    for grade_id, count in ids.items():
        if count > 1:
            yield Problem(
                severity="error",
                where=f"{name}:{grade_id}",
                message=sentence(
                    DOUBLED,
                    count=count,
                    grade_id=str(grade_id),
                ),
            )


def _missing(name: str, node: NotebookNode, source: AssignmentSource) -> Iterator[Problem]:
    for path in missing_files(node, source.files):
        yield Problem(
            severity="error",
            where=name,
            message=sentence(MISSING, file=path),
        )
    for cell in node.cells:
        for target in _IMAGE.findall(cell.source) if cell.cell_type == "markdown" else ():
            if "://" in target or target.startswith(("data:", "attachment:", "/", "#")):
                continue
            if target not in source.files:
                yield Problem(
                    severity="warning",
                    where=name,
                    message=sentence(
                        "The picture %(file)s is shown but is not in the assignment's folder.",
                        file=target,
                    ),
                )


def lint_release(release: BuiltRelease) -> Iterator[Problem]:
    """Yield markers that were left in the release: students could read what follows them."""
    for path, content in release.student_files.items():
        if not is_any_notebook(path):
            yield from _leaks(path, content.decode("utf-8", "replace"))
    for name, node in release.released.items():
        if any(marker in cell.source for cell in node.cells for marker in _MARKERS):
            yield Problem(
                severity="error",
                where=name,
                message=sentence("A solution or a hidden test can still be read in the release."),
            )
    if release.points == 0:
        yield Problem(
            severity="warning",
            where=release.name,
            message=sentence("No cell of this assignment earns points."),
        )


def _leaks(path: str, text: str) -> Iterator[Problem]:
    if any(marker in text for marker in _MARKERS):
        yield Problem(
            severity="error",
            where=path,
            message=sentence(
                "%(file)s holds a solution or a hidden test and students get it as it is.",
                file=path,
            ),
        )
