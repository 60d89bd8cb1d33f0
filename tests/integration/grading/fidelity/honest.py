"""Honest submissions to the project's own courses: references, mutants, blanks and mixtures."""

import textwrap
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random

from lms.outposts.runner.release import build_release
from tests.courses.mutants import MUTANTS
from tests.courses.notebooks import ASSIGNMENTS, load
from tests.factories.notebooks import answered

#: By assignment: where it is.
FOLDERS: dict[str, Path] = {path.parent.name: path.parent for path in ASSIGNMENTS}
_WRITTEN = "\n".join(textwrap.wrap("The tests say so, and the reason is in the text above. " * 3))


def pools(name: str) -> dict[str, list[str | None]]:
    """Return the answers to every question: the reference, the wrong ones, none at all."""
    solutions = load(FOLDERS[name] / f"{name}.ipynb").solutions
    found: dict[str, list[str | None]] = {cell: [source] for cell, source in solutions.items()}
    for mutant in MUTANTS[name]:
        found[mutant.cell].append(mutant.source)
    return {cell: [*sources, None] for cell, sources in found.items()}


def submissions_of(name: str, count: int) -> dict[str, dict[str, bytes]]:
    """Return `count` different submissions, the same every time; right work comes first.

    A class is mostly right: a question is answered by the reference as often as by all else.
    """
    released = build_release(FOLDERS[name]).student_files
    notebook = f"{name}.ipynb"
    submissions: dict[str, dict[str, bytes]] = {}
    seen: set[bytes] = set()
    for answers in _mixtures(name):
        content = answered(released[notebook], answers)
        if content not in seen:
            seen.add(content)
            submissions[f"{name}-{len(submissions):03}"] = {**released, notebook: content}
        if len(submissions) == count:
            break
    return submissions


def _mixtures(name: str) -> Iterator[dict[str, str]]:
    found = pools(name)
    right = {cell: sources[0] for cell, sources in found.items()}
    yield _only(right)
    for cell, sources in found.items():
        for source in sources[1:]:
            yield _only(right | {cell: source})
    random = Random(name)  # noqa: S311 (the same submissions every time)
    every = list(product(*found.values()))
    while True:
        if random.random() < 0.2:
            yield _only(dict(zip(found, random.choice(every), strict=True)))
            continue
        mixed = {
            cell: sources[0] if random.random() < 0.5 else random.choice(sources)
            for cell, sources in found.items()
        }
        yield _only(mixed) | ({"W": _WRITTEN} if random.random() < 0.5 else {})


def _only(answers: dict[str, str | None]) -> dict[str, str]:
    return {cell: source for cell, source in answers.items() if source is not None}
