"""Assignments with pools of answers and changes, and the seeded submissions drawn from them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.factories.notebooks import Notebook, answered, to_bytes

Change = Callable[[Notebook], None]
Files = Mapping[str, bytes]
HandIn = Callable[[dict[str, bytes]], None]

#: The course's own settings; both sides read them.
CONFIG = (
    "c = get_config()\n"
    'c.CourseDirectory.course_id = "fidelity"\n'
    'c.ClearSolutions.code_stub = {"python": "# 여기에 쓰세요\\nraise NotImplementedError"}\n'
)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """An instructor's assignment, and the honest ways to hand it in."""

    name: str
    notebooks: Mapping[str, Notebook]
    #: By solution cell, right answers first; None leaves the cell as released.
    answers: Mapping[str, Sequence[str | None]]
    files: Files = field(default_factory=dict)
    #: Ways to change a notebook besides answering, and ways to hand the files in.
    changes: Mapping[str, Change] = field(default_factory=dict)
    hand_ins: Mapping[str, HandIn] = field(default_factory=dict)
    #: More of the course's settings, and files beside `source/`.
    config: str = ""
    course_files: Files = field(default_factory=dict)
    count: int = 50
    cell_seconds: int = 60


@dataclass(frozen=True)
class Draw:
    """One submission before it is bytes: which answer of every cell, which changes."""

    answers: tuple[int, ...]
    changes: tuple[str, ...] = ()
    hand_in: str = ""


def make_course(root: Path, assignments: Sequence[Assignment]) -> None:
    """Write a course with these assignments, which agree on their settings."""
    root.mkdir(parents=True, exist_ok=True)
    (config,) = {assignment.config for assignment in assignments}
    (root / "nbgrader_config.py").write_text(CONFIG + config)
    for assignment in assignments:
        notebooks = {f"{name}.ipynb": to_bytes(v) for name, v in assignment.notebooks.items()}
        for path, content in {**assignment.files, **notebooks}.items():
            _write(root / "source" / assignment.name / path, content)
        for path, content in assignment.course_files.items():
            _write(root / path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def draw(assignment: Assignment) -> Iterator[Draw]:
    """Yield submissions without end: everything once, one at a time, then at random."""
    right = (0,) * len(assignment.answers)
    yield Draw(right)
    for place, pool in enumerate(assignment.answers.values()):
        for index in range(1, len(pool)):
            yield Draw((*right[:place], index, *right[place + 1 :]))
    yield from (Draw(right, (name,)) for name in assignment.changes)
    yield from (Draw(right, (), name) for name in assignment.hand_ins)
    random = Random(assignment.name)  # noqa: S311 (the same submissions every time)
    names, hand_ins = list(assignment.changes), ["", *assignment.hand_ins]
    while True:
        answers = tuple(random.randrange(len(pool)) for pool in assignment.answers.values())
        changes = random.sample(names, min(len(names), random.choice((0, 0, 1, 2))))
        yield Draw(answers, tuple(sorted(changes)), random.choice(hand_ins))


def submissions_of(
    assignment: Assignment, released: Files, count: int | None = None
) -> dict[str, dict[str, bytes]]:
    """Return `count` submissions that differ in their bytes, by student; the same every time."""
    wanted = count or assignment.count
    found: dict[str, dict[str, bytes]] = {}
    seen: set[str] = set()
    for tries, drawn in enumerate(draw(assignment)):
        if len(found) == wanted or tries > 50 * wanted:
            break
        files = _submitted(assignment, released, drawn)
        digest = _digest(files)
        if digest not in seen:
            seen.add(digest)
            found[f"{assignment.name}-{len(found):03}"] = files
    return found


def sample_of(assignment: Assignment, released: Files, count: int) -> dict[str, dict[str, bytes]]:
    """Return `count` of the assignment's submissions, spread over all of them."""
    every = submissions_of(assignment, released)
    names = list(every)
    return {names[i * len(names) // count]: every[names[i * len(names) // count]]
            for i in range(count)}  # fmt: skip


def _digest(files: Files) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _submitted(assignment: Assignment, released: Files, drawn: Draw) -> dict[str, bytes]:
    chosen = {
        cell: pool[index]
        for (cell, pool), index in zip(assignment.answers.items(), drawn.answers, strict=True)
    }
    answers = {cell: answer for cell, answer in chosen.items() if answer is not None}
    # Format 3 knows no "cells": whoever saves in it does so last.
    changes = [assignment.changes[name] for name in sorted(drawn.changes, key="3".__eq__)]
    files = {
        path: answered(content, answers, *changes) if path.endswith(".ipynb") else content
        for path, content in released.items()
    }
    if drawn.hand_in:
        assignment.hand_ins[drawn.hand_in](files)
    return files
