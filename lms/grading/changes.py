"""What a new release changes for work that was handed in to an old one.

A score hangs on what the release puts into the graded notebook: tests, locked code, points, data
files and settings; a student's answers and own cells come from the submission. So prose touches
nobody, and a changed answer stub only whoever deleted that cell.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from lms.foundation.blobs import digest_of
from lms.foundation.signing import canonical
from lms.outposts.runner.errors import SubmissionError
from lms.outposts.runner.files import is_any_notebook, is_top_notebook, notebook_name
from lms.outposts.runner.notebooks import read_source, read_submitted


class Kind(StrEnum):
    """What sort of thing changed."""

    TEST = "test"
    LOCKED = "locked"
    POINTS = "points"
    STUB = "stub"
    DATA = "data"
    LIMITS = "limits"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change: `name` is a cell's grade_id or a file; `notebook` is empty for all of them."""

    kind: Kind
    notebook: str
    name: str

    def to_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"kind": self.kind.value, "notebook": self.notebook, "name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookParts:
    """What an instructor's notebook gives to grading, in order, by grade_id."""

    #: Tests: their source, and what they are worth.
    tests: Mapping[str, str] = field(default_factory=dict)
    locked: Mapping[str, str] = field(default_factory=dict)
    stubs: Mapping[str, str] = field(default_factory=dict)
    #: [points, what kind of graded cell it is], for tests and for what a person scores.
    points: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    #: The order in which the code of the release runs.
    order: tuple[str, ...] = ()


def source_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of an instructor's files, by path."""
    return listing_digest({path: digest_of(content) for path, content in files.items()})


def listing_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a list of files, each by its path and digest."""
    return digest_of(canonical([[path, digests[path]] for path in sorted(digests)]))


def tests_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of an assignment's tests and what they are worth."""
    listing = [
        [name, grade_id, source, parts.points.get(grade_id, (0.0, ""))[0]]
        for name, parts in sorted(parts_of(files).items())
        for grade_id, source in parts.tests.items()
    ]
    return digest_of(canonical(listing))


def parts_of(files: Mapping[str, bytes]) -> dict[str, NotebookParts]:
    """Return what each notebook of an instructor's files gives to grading."""
    found: dict[str, NotebookParts] = {}
    for path in sorted(files):
        if is_top_notebook(path):
            name = notebook_name(path)
            found[name] = _parts(read_source(name, files[path])[0])
    return found


def _parts(node: Any) -> NotebookParts:  # noqa: ANN401 (nbformat's node)
    from nbgrader import utils

    tests: dict[str, str] = {}
    locked: dict[str, str] = {}
    stubs: dict[str, str] = {}
    points: dict[str, tuple[float, str]] = {}
    order: list[str] = []
    for cell in node.cells:
        about = cell.metadata.get("nbgrader") or {}
        grade_id = str(about.get("grade_id", ""))
        graded, answered = bool(utils.is_grade(cell)), bool(utils.is_solution(cell))
        task = bool(utils.is_task(cell))
        if graded or task:
            kind = "task" if task else "answer" if answered else "test"
            points[grade_id] = (float(about.get("points", 0.0)), kind)
        if answered:
            stubs[grade_id] = cell.source
        elif graded:
            tests[grade_id] = cell.source
        elif utils.is_locked(cell) and cell.cell_type == "code":
            locked[grade_id] = cell.source
        else:
            continue
        order.append(grade_id)
    return NotebookParts(tests=tests, locked=locked, stubs=stubs, points=points, order=tuple(order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides of a release: the instructor's files, and what students get."""

    instructor: Mapping[str, bytes]
    student: Mapping[str, bytes]

    def parts(self) -> dict[str, NotebookParts]:
        """Return what each notebook gives to grading; stubs are those that students get."""
        empty = NotebookParts()
        given = parts_of(self.student)
        return {
            name: replace(parts, stubs=given.get(name, empty).stubs)
            for name, parts in parts_of(self.instructor).items()
        }


def compare(old: Sides, new: Sides) -> list[Change]:
    """Return what differs between two releases for work that was handed in already."""
    before, after = old.parts(), new.parts()
    files = {*old.instructor, *new.instructor}
    changes = [
        Change(kind=Kind.DATA, notebook="", name=path)
        for path in sorted(files)
        if not is_any_notebook(path) and old.instructor.get(path) != new.instructor.get(path)
    ]
    empty = NotebookParts()
    for name in sorted({*before, *after}):
        changes += _compare(name, before.get(name, empty), after.get(name, empty))
    return changes


def _compare(notebook: str, old: NotebookParts, new: NotebookParts) -> Iterator[Change]:
    for kind, one, other in (
        (Kind.TEST, old.tests, new.tests),
        (Kind.LOCKED, old.locked, new.locked),
        (Kind.STUB, old.stubs, new.stubs),
        (Kind.POINTS, old.points, new.points),
    ):
        for grade_id in {**one, **other}:
            if one.get(grade_id) != other.get(grade_id):
                yield Change(kind=kind, notebook=notebook, name=grade_id)
    if set(old.order) == set(new.order) and old.order != new.order:
        moved = next(a for a, b in zip(old.order, new.order, strict=True) if a != b)
        yield Change(kind=Kind.LOCKED, notebook=notebook, name=moved)


def touches(
    changes: Iterable[Change], paths: Iterable[str], read: Callable[[str], bytes]
) -> list[Change]:
    """Return those of the changes that can change the result of a submission.

    `paths` are the files handed in; `read` gives the bytes of one, for the few cases that ask.
    """
    notebooks = {notebook_name(path): path for path in paths if is_top_notebook(path)}
    return [change for change in changes if _touches(change, notebooks, read)]


def _touches(change: Change, notebooks: Mapping[str, str], read: Callable[[str], bytes]) -> bool:
    if not change.notebook:
        return bool(notebooks)
    if change.kind is Kind.POINTS:
        # A notebook that was not handed in has a maximum too.
        return True
    if change.notebook not in notebooks:
        return False
    return change.kind is not Kind.STUB or _lacks(read(notebooks[change.notebook]), change.name)


def _lacks(content: bytes, grade_id: str) -> bool:
    try:
        return all(cell.grade_id != grade_id for cell in read_submitted(content))
    except SubmissionError:
        return False
