"""What a student types: the reference's own answers, taken from the course's source."""

import re
from pathlib import Path

import nbformat

SOLUTION = re.compile(r"^[ \t]*### (BEGIN|END) SOLUTION[^\n]*\n?", re.MULTILINE)


def reference_answers(source: Path) -> dict[str, str]:
    """Return, by a line that only that cell holds, the full text of each solution cell."""
    notebook = nbformat.read(source, as_version=4)
    answers: dict[str, str] = {}
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and marks.get("solution"):
            text = SOLUTION.sub("", cell.source).rstrip()
            first = next(line for line in text.splitlines() if line.startswith("def "))
            answers[first] = text
    return answers
