"""Reading folders: the instructor's with nbgrader's own rules, a student's as hostile data."""

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.notebooks import NOTEBOOK_BYTES
from lms.protocol.sentences import Sentence, sentence

#: What nbgrader's CourseDirectory ignores by default.
IGNORED = (".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback")
SUFFIX = ".ipynb"
_COUNT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedFiles:
    """The notebooks of a submission by name without suffix, and why others were not taken."""

    notebooks: Mapping[str, bytes] = field(default_factory=dict)
    refused: Mapping[str, Sentence] = field(default_factory=dict)
    #: Python files handed in: none is ever imported, and whoever relied on that should know.
    modules: tuple[str, ...] = ()


def is_ignored(name: str) -> bool:
    """Say whether nbgrader would leave out a file or folder of this name."""
    return any(fnmatch(name, pattern) for pattern in IGNORED)


def is_top_notebook(path: str) -> bool:
    """Say whether `path` is a notebook of the assignment: nbgrader looks in the top folder only."""
    return "/" not in path and path.endswith(SUFFIX)


def is_any_notebook(path: str) -> bool:
    """Say whether `path` is a notebook; those in subfolders are neither graded nor released."""
    return path.endswith(SUFFIX)


def read_assignment(folder: Path) -> dict[str, bytes]:
    """Return an instructor's files by relative path; raises ReleaseError when there is no folder.

    A link is followed when it stays inside the course, since courses share data that way.
    """
    if not folder.is_dir():
        raise ReleaseError(sentence("There is no folder %(path)s.", path=str(folder)))
    course = folder.resolve().parent.parent
    found: dict[str, bytes] = {}
    for path in _walk(folder):
        target = path.resolve()
        if path.is_symlink() and not target.is_relative_to(course):
            raise ReleaseError(
                sentence("%(path)s is a link that leads out of the course.", path=path.name),
            )
        if not target.is_file():
            continue
        name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        try:
            found[name] = target.read_bytes()
        except OSError as error:
            raise ReleaseError(
                sentence("%(path)s cannot be read: %(problem)s", path=name, problem=str(error)),
            ) from error
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names):
            if not is_ignored(name):
                yield Path(parent, name)


def read_submission(submission: Mapping[str, bytes] | Path) -> SubmittedFiles:
    """Return the notebooks in a submission's top folder: regular files only, bounded in size.

    Nothing else of a submission is ever used: the release brings its own data files, and a
    submitted `numpy.py` must not be imported.
    """
    if isinstance(submission, Path):
        return _read_folder(submission)
    notebooks: dict[str, bytes] = {}
    refused: dict[str, Sentence] = {}
    for path, content in sorted(submission.items()):
        if not is_top_notebook(path):
            continue
        name = notebook_name(path)
        if len(content) > NOTEBOOK_BYTES:
            refused[name] = too_large()
        else:
            notebooks[name] = bytes(content)
    modules = tuple(path for path in sorted(submission) if path.endswith(".py"))
    return SubmittedFiles(notebooks=notebooks, refused=refused, modules=modules)


def _read_folder(folder: Path) -> SubmittedFiles:
    notebooks: dict[str, bytes] = {}
    refused: dict[str, Sentence] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return SubmittedFiles()
    for entry in [name for name in names if name.endswith(SUFFIX)][:_COUNT]:
        name = notebook_name(entry)
        content = _read_regular(folder / entry)
        if isinstance(content, Sentence):
            refused[name] = content
        else:
            notebooks[name] = content
    modules = tuple(name for name in names if name.endswith(".py"))
    return SubmittedFiles(notebooks=notebooks, refused=refused, modules=modules)


def _read_regular(path: Path) -> bytes | Sentence:
    """Read one regular file without following a link; O_NONBLOCK keeps a FIFO from hanging us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return not_regular()
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        return not_regular()
    with os.fdopen(descriptor, "rb") as file:
        if facts.st_size > NOTEBOOK_BYTES:
            return too_large()
        content = file.read(NOTEBOOK_BYTES + 1)
    return too_large() if len(content) > NOTEBOOK_BYTES else content


def notebook_name(path: str) -> str:
    """Return a notebook's name: NFC, since macOS writes Korean names decomposed; no suffix."""
    return unicodedata.normalize("NFC", path.removesuffix(SUFFIX))


def too_large() -> Sentence:
    """Say that a notebook exceeds what is read."""
    return sentence("The notebook is larger than %(size)s MB.", size=NOTEBOOK_BYTES >> 20)


def not_regular() -> Sentence:
    """Say that a link, folder or device stands where a notebook should."""
    return sentence("The notebook is a link or not a regular file, so it was not read.")
