"""What `lms bench grade` grades: a course made for it, the project's own, or one that is given."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lms.cli.bench.course import answers_of, write_course, write_submissions
from lms.foundation.errors import InvalidError
from lms.outposts.runner.release import build_release
from lms.protocol.sentences import sentence

_SEED = 7
#: What a third of the students of the project's own courses do to a solution cell.
_SLIPS = ("", "\nprint('done')", "\nraise RuntimeError('not finished')", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An instructor's folder and what students handed in, by student."""

    name: str
    source: Path
    submissions: dict[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseSet:
    """Assignments that are reported together."""

    name: str
    assignments: tuple[Assignment, ...]

    @property
    def distinct(self) -> int:
        """How many submissions there are that no other has the same bytes as."""
        return len(
            {
                _digest(assignment.name, folder)
                for assignment in self.assignments
                for folder in assignment.submissions.values()
            }
        )


def made(root: Path, count: int) -> CourseSet:
    """Write the benchmark's own course; np1 gets `count` submissions, the others a third each."""
    write_course(root)
    for name, share in (("np1", count), ("ml1", -(-count // 3)), ("ps1", -(-count // 3))):
        released = build_release(root / "source" / name).student_files
        write_submissions(root, name, released, answers_of(name, share, _SEED))
    return CourseSet(name="made", assignments=tuple(_found(root, ("np1", "ml1", "ps1"))))


def own(courses: Path, root: Path, count: int) -> CourseSet:
    """Write answers to the first two assignments of each of the project's own courses."""
    sources = [
        source
        for folder in sorted(courses.iterdir())
        if (folder / "source").is_dir()
        for source in sorted((folder / "source").iterdir())[:2]
    ]
    assignments = []
    for source in sources:
        share = -(-count // len(sources))
        release = build_release(source)
        answers = [
            _varied(release.instructor_files, release.student_files, number)
            for number in range(share)
        ]
        write_submissions(root, source.name, release.student_files, answers)
        assignments.append(
            Assignment(name=source.name, source=source, submissions=_submitted(root, source.name))
        )
    return CourseSet(name="own", assignments=tuple(assignments))


def given(root: Path, count: int) -> CourseSet:
    """Take a course of nbgrader's shape, `source/` and `submitted/`; at most `count` of each."""
    if not (root / "source").is_dir() or not (root / "submitted").is_dir():
        raise InvalidError(
            sentence("%(path)s holds no source and submitted folders.", path=str(root))
        )
    names = sorted(folder.name for folder in (root / "source").iterdir() if folder.is_dir())
    assignments = [
        Assignment(
            name=found.name,
            source=found.source,
            submissions=dict(list(found.submissions.items())[:count]),
        )
        for found in _found(root, names)
    ]
    return CourseSet(name=root.name, assignments=tuple(assignments))


def _found(root: Path, names: Iterator[str] | tuple[str, ...] | list[str]) -> Iterator[Assignment]:
    for name in names:
        submissions = _submitted(root, name)
        if submissions:
            yield Assignment(name=name, source=root / "source" / name, submissions=submissions)


def _submitted(root: Path, name: str) -> dict[str, Path]:
    return {
        student.name: student / name
        for student in sorted((root / "submitted").iterdir())
        if (student / name).is_dir()
    }


def _varied(
    instructor: dict[str, bytes], released: dict[str, bytes], number: int
) -> dict[str, str]:
    """Return one student's answers: the reference's, some of them blank, chatty or failing."""
    chance = random.Random(f"{_SEED} {number}")  # noqa: S311 (no secret)
    answers = {}
    for name in (name for name in released if name.endswith(".ipynb") and "/" not in name):
        for cell in json.loads(instructor[name])["cells"]:
            nbgrader = cell["metadata"].get("nbgrader", {})
            if nbgrader.get("solution") and cell["cell_type"] == "code":
                source = "".join(cell["source"])
                slip = chance.choice(_SLIPS) if number and chance.random() < 1 / 3 else ""
                if slip is not None:
                    answers[nbgrader["grade_id"]] = f"# {number}\n{source}{slip}"
    return answers


def _digest(name: str, folder: Path) -> str:
    digest = sha256(name.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
