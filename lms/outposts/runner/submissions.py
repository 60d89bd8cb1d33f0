"""Finding submissions in a folder: one submission, or nbgrader's tree of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lms.outposts.runner.errors import RunnerError
from lms.outposts.runner.files import SUFFIX, is_ignored
from lms.protocol.sentences import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSubmission:
    """Who handed in, and what: a folder to read as hostile data, or nothing at all."""

    student: str
    content: Path | Mapping[str, bytes] = field(default_factory=dict)


def find_submissions(path: Path, assignment: str) -> list[FoundSubmission]:
    """Return the submissions of `assignment` under `path`, by student.

    `path` is one submission's folder, one notebook, nbgrader's `submitted/`, one student's folder
    in it, or the course's root. Raises RunnerError when nothing of the kind is there.
    """
    if path.is_file():
        return [FoundSubmission(student=path.stem, content={path.name: _read(path)})]
    if not path.is_dir():
        raise RunnerError(sentence("There is no folder %(path)s.", path=str(path)))
    if _holds_notebooks(path):
        return [_single(path, assignment)]
    tree = path / "submitted" if (path / "submitted").is_dir() else path
    found = [
        _in_tree(student, assignment)
        for student in sorted(tree.iterdir())
        if student.is_dir() and not is_ignored(student.name) and (student / assignment).is_dir()
    ]
    if found:
        return found
    if (path / assignment).is_dir():
        return [FoundSubmission(student=path.resolve().name, content=path / assignment)]
    if any(entry.is_dir() for entry in path.iterdir()):
        raise RunnerError(
            sentence(
                "No submission of %(assignment)s was found in %(path)s.",
                assignment=assignment,
                path=str(path),
            )
        )
    return [_single(path, assignment)]


def _read(path: Path) -> bytes:
    from lms.outposts.runner.notebooks import NOTEBOOK_BYTES

    with path.open("rb") as file:
        return file.read(NOTEBOOK_BYTES + 1)


def _holds_notebooks(path: Path) -> bool:
    return any(entry.name.endswith(SUFFIX) for entry in path.iterdir())


def _single(path: Path, assignment: str) -> FoundSubmission:
    resolved = path.resolve()
    student = resolved.parent.name if resolved.name == assignment else resolved.name
    return FoundSubmission(student=student, content=path)


def _in_tree(student: Path, assignment: str) -> FoundSubmission:
    folder = student / assignment
    if student.is_symlink() or folder.is_symlink():
        # A link in a tree that students can write leads to somebody else's work.
        return FoundSubmission(student=student.name)
    return FoundSubmission(student=student.name, content=folder)
