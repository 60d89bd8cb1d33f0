"""Cells of releases and copies as plain JSON: what they are, and making one from another."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Cell = dict[str, Any]
Notebook = dict[str, Any]

_FLAGS = ("grade", "solution", "locked", "task")
_NBFORMAT, _MINOR_WITH_IDS = 4, 5
_WORDS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A cell of a release; two are the same only when they are the same object."""

    cell: Cell
    #: Empty for a cell that nbgrader does not know.
    grade_id: str
    #: Students do not write in it.
    is_locked: bool
    text: str

    @property
    def is_marked(self) -> bool:
        """The cell is known by its grade_id."""
        return bool(self.grade_id)

    @property
    def kind(self) -> tuple[str, str]:
        """What a cell without grade_id is known by."""
        return str(self.cell.get("cell_type")), self.text


def read_notebook(content: bytes) -> Notebook | None:
    """Return a notebook of format 4 whose cells are objects, or None."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if is_notebook(value) else None


def is_notebook(value: object) -> bool:
    """Say whether a value is a notebook of format 4."""
    if not isinstance(value, dict) or value.get("nbformat") != _NBFORMAT:
        return False
    cells = value.get("cells")
    return isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells)


def write_notebook(value: Notebook) -> bytes:
    """Write a notebook as Jupyter does."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def pieces_of(release: Notebook) -> list[Piece]:
    """Return the cells of a release in order."""
    return [_piece(cell) for cell in release["cells"]]


def _piece(cell: Cell) -> Piece:
    facts = _nbgrader(cell)
    grade_id = grade_id_of(cell)
    is_answer = bool(facts.get("solution")) and bool(grade_id)
    is_open_task = bool(facts.get("task")) and not facts.get("locked")
    return Piece(
        cell=cell,
        grade_id=grade_id,
        is_locked=bool(grade_id) and not is_answer and not is_open_task,
        text=text_of(cell),
    )


def grade_id_of(cell: Cell) -> str:
    """Return the grade_id of a cell that nbgrader records, else an empty text."""
    facts = _nbgrader(cell)
    named = facts.get("grade_id")
    return named if isinstance(named, str) and any(facts.get(flag) for flag in _FLAGS) else ""


def _nbgrader(cell: Cell) -> Mapping[str, object]:
    metadata = cell.get("metadata")
    facts = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return facts if isinstance(facts, dict) else {}


def text_of(cell: Cell) -> str:
    """Return a cell's source; files hold it as text or as lines."""
    source = cell.get("source", "")
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def label(piece: Piece) -> str:
    """Return what a person knows a cell by."""
    if piece.is_marked:
        return piece.grade_id
    words = " ".join(piece.text.replace("#", " ").split())
    return words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"


def is_new_already(cell: Cell, new: Cell, before: Piece | None) -> bool:
    """Say whether what a release says of a cell stands in `cell` as in `new`."""
    if (cell.get("cell_type"), text_of(cell)) != (new.get("cell_type"), text_of(new)):
        return False
    if cell.get("attachments") != new.get("attachments"):
        return False
    return bool(_metadata(cell, new, before) == cell.get("metadata", {}))


def _metadata(cell: Cell, new: Cell, before: Piece | None) -> dict[str, Any]:
    """Return the new metadata, and what the student's tools added to it."""
    released = before.cell.get("metadata", {}) if before is not None else {}
    kept = cell.get("metadata")
    added = {
        key: value
        for key, value in (kept.items() if isinstance(kept, dict) else ())
        if key not in released and key != "nbgrader"
    }
    return {**added, **new.get("metadata", {})}


def renewed(cell: Cell, new: Cell, before: Piece | None, taken: set[str]) -> Cell:
    """Return `cell` with source, metadata and attachments of `new`; outputs stay."""
    metadata = _metadata(cell, new, before)
    if cell.get("cell_type") != new.get("cell_type"):
        made = {**new, "metadata": metadata}
        made.pop("id", None)
    else:
        made = {**cell, "metadata": metadata}
        made.pop("attachments", None)
        if "attachments" in new:
            made["attachments"] = new["attachments"]
    made["source"] = _styled(text_of(new), as_lines=isinstance(cell.get("source"), list))
    was_released = before is not None and cell.get("id") == before.cell.get("id")
    if "id" in cell:
        free = "id" in new and new["id"] not in taken
        made["id"] = new["id"] if was_released and free else cell["id"]
    return made


def fresh_id(new: Cell, taken: set[str], notebook: Notebook, *, as_lines: bool) -> Cell:
    """Return a cell of the release for this notebook, with an id where cells have one."""
    made = {**new, "source": _styled(text_of(new), as_lines=as_lines)}
    known = made.pop("id", None)
    minor = notebook.get("nbformat_minor", 0)
    if isinstance(minor, int) and minor >= _MINOR_WITH_IDS:
        made["id"] = known if known and known not in taken else _another(new, taken)
    return made


def _another(cell: Cell, taken: set[str]) -> str:
    number = 0
    while True:
        seed = f"{number} {grade_id_of(cell)} {text_of(cell)}"
        made = hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:12]
        if made not in taken:
            return made
        number += 1


def _styled(text: str, *, as_lines: bool) -> str | list[str]:
    return text.splitlines(keepends=True) if as_lines else text
