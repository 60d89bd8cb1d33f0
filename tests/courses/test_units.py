"""Every unit notebook runs from top to bottom, draws its pictures and keeps to its time."""

import resource
import tomllib
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.courses.notebooks import UNITS, label, read

pytestmark = pytest.mark.kernel


def _seconds_allowed(unit: Path) -> int:
    course = tomllib.loads((unit.parents[1] / "course.toml").read_text("utf-8"))
    return int(course["course"]["compute"]["unit_seconds"])


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _outputs(notebook: NotebookNode, kind: str) -> list[NotebookNode]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output.output_type == kind]


@pytest.mark.parametrize("unit", UNITS, ids=label)
def test_a_unit_runs_within_its_declared_seconds(unit: Path) -> None:
    notebook = read(unit)
    # Processor time, since other programs on a busy machine must not fail a course.
    before = _processor_seconds()
    NotebookClient(
        notebook,
        timeout=10 * _seconds_allowed(unit),
        resources={"metadata": {"path": str(unit.parent)}},
    ).execute()
    assert _processor_seconds() - before <= _seconds_allowed(unit)
    noise = [o.text for o in _outputs(notebook, "stream") if o.name == "stderr"]
    assert [text for text in noise if "encryption" not in text] == []
    pictures = [o for o in _outputs(notebook, "display_data") if "image/png" in o.data]
    assert pictures
    assert all(len(picture.metadata["image/png"]["alt"]) > 40 for picture in pictures)


@pytest.mark.parametrize("unit", UNITS, ids=label)
def test_a_unit_leaves_its_exercise_open_and_its_self_check_says_so(unit: Path) -> None:
    cells = [cell for cell in read(unit).cells if cell.cell_type == "code"]
    exercise = next(place for place, cell in enumerate(cells) if "your code here" in cell.source)
    assert "Self-check" in cells[exercise + 1].source
    assert "NOT YET" in cells[exercise + 1].source
