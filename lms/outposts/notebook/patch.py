"""A correction as a pure function: what changed between two releases, put into a student's copy.

Cells of the release that changed are exchanged, added or taken out. Answers, the student's own
cells, outputs and the order stay as they are; where both sides changed the same thing, the
student's stays and a conflict is named.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lms.outposts.notebook.cells import (
    Cell,
    Notebook,
    Piece,
    fresh_id,
    is_new_already,
    label,
    pieces_of,
    read_notebook,
    renewed,
    text_of,
    write_notebook,
)
from lms.outposts.notebook.pairs import Pairs, pair

ChangeKind = Literal["changed", "added", "removed"]
ConflictKind = Literal["unreadable", "answer kept", "answer left over", "text kept", "file kept"]


class Change(NamedTuple):
    """One cell (or data file) that was brought to the new release."""

    kind: ChangeKind
    #: grade_id, the first words of a text, or a path.
    what: str


class Conflict(NamedTuple):
    """Something of the student's that stands in the way and was left alone."""

    kind: ConflictKind
    what: str


class Patched(NamedTuple):
    """A copy after a correction; its bytes are the very same when nothing changed."""

    content: bytes
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]


def patch_notebook(old_release: bytes, new_release: bytes, copy: bytes) -> Patched:
    """Return `copy`, made from `old_release`, with what `new_release` changed.

    Done twice it changes nothing more; an untouched copy of the old release becomes the new one.
    """
    old, new = read_notebook(old_release), read_notebook(new_release)
    mine = read_notebook(copy)
    if mine is None:
        return Patched(copy, (), (Conflict("unreadable", ""),))
    if old is None or new is None:
        raise ValueError("a release holds a notebook that is none")
    if mine == old and old != new:
        _, changes, _ = patch_cells(old, new, mine)
        return Patched(new_release, tuple(changes), ())
    patched, changes, conflicts = patch_cells(old, new, mine)
    content = copy if patched == mine else write_notebook(patched)
    return Patched(content, tuple(changes), tuple(conflicts))


def patch_cells(
    old: Notebook, new: Notebook, mine: Notebook
) -> tuple[Notebook, list[Change], list[Conflict]]:
    """Do the same with parsed notebooks; `mine` itself is not changed."""
    work = _Copy(old, new, mine)
    work.exchange()
    work.insert()
    work.take_out()
    metadata = _new_metadata(old, new, mine)
    return {**mine, **metadata, "cells": work.cells()}, work.changes, work.conflicts


def _new_metadata(old: Notebook, new: Notebook, mine: Notebook) -> dict[str, Any]:
    """Return the notebook's metadata with what changed in the release, if it is as released."""
    before, after, kept = (value.get("metadata", {}) for value in (old, new, mine))
    if not all(isinstance(value, dict) for value in (before, after, kept)) or before == after:
        return {}
    made = dict(kept)
    for key in {*before, *after}:
        if before.get(key) != after.get(key) and _is_as_released(key, kept, before):
            made.pop(key, None)
            if key in after:
                made[key] = after[key]
    return {"metadata": made}


def _is_as_released(key: str, kept: dict[str, Any], before: dict[str, Any]) -> bool:
    mine, released = kept.get(key), before.get(key)
    if key == "kernelspec" and isinstance(mine, dict) and isinstance(released, dict):
        # Jupyter writes the title of the kernel it found; the name says which one it is.
        return mine.get("name") == released.get("name")
    return bool(mine == released)


@dataclass(slots=True)
class _Slot:
    """A cell of the copy, and the piece of the new release that it is, if any."""

    cell: Cell
    piece: Piece | None = None


class _Copy:
    """A student's copy while it is corrected."""

    def __init__(self, old: Notebook, new: Notebook, mine: Notebook) -> None:
        self._mine = mine
        self._new = pieces_of(new)
        self._pairs: Pairs = pair(pieces_of(old), self._new, mine["cells"])
        self._slots = [_Slot(cell) for cell in mine["cells"]]
        for piece, index in self._pairs.place_of.items():
            self._slots[index].piece = piece
        self._gone: set[int] = set()
        self.changes: list[Change] = []
        self.conflicts: list[Conflict] = []

    def cells(self) -> list[Cell]:
        """Return the cells as they are now."""
        return [slot.cell for slot in self._slots if id(slot) not in self._gone]

    def exchange(self) -> None:
        """Bring cells that are in both releases, and differ, to the new one."""
        for piece in self._new:
            before = self._pairs.before(piece)
            slot = self._slot(piece)
            if slot is None or is_new_already(slot.cell, piece.cell, before):
                continue
            if before is None:
                if piece.is_locked:
                    self._renew(slot, piece, None)
            elif not is_new_already(before.cell, piece.cell, before):
                self._exchange(slot, piece, before)

    def _exchange(self, slot: _Slot, piece: Piece, before: Piece) -> None:
        is_untouched = text_of(slot.cell) == before.text
        if (piece.is_locked and before.is_locked) or is_untouched:
            self._renew(slot, piece, before)
        elif text_of(slot.cell) == piece.text:
            return
        elif not piece.is_marked:
            self.conflicts.append(Conflict("text kept", label(before)))
        elif before.text != piece.text:
            self.conflicts.append(Conflict("answer kept", label(piece)))

    def _renew(self, slot: _Slot, piece: Piece, before: Piece | None) -> None:
        slot.cell = renewed(slot.cell, piece.cell, before, self._taken())
        self.changes.append(Change("changed", label(piece)))

    def insert(self) -> None:
        """Add pieces that the copy lacks and that are new or changed, in their places."""
        for place, piece in enumerate(self._new):
            before = self._pairs.before(piece)
            if self._slot(piece) is not None or piece in self._pairs.taken_out:
                continue
            is_same = before is not None and is_new_already(before.cell, piece.cell, before)
            # A text or answer that the student took out stays out; a changed test comes back.
            if is_same or (before is not None and not piece.is_locked):
                continue
            self._slots.insert(self._spot(place), _Slot(self._fresh(piece), piece))
            self.changes.append(Change("added", label(piece)))

    def _spot(self, place: int) -> int:
        """Return where a piece goes: before the next piece that is there, or at the end.

        The student's own cells behind the piece before it stay with that one, as in grading.
        """
        for later in self._new[place + 1 :]:
            for index, slot in enumerate(self._slots):
                if slot.piece is later:
                    return index
        return len(self._slots)

    def _fresh(self, piece: Piece) -> Cell:
        has_lines = any(isinstance(cell.get("source"), list) for cell in self._mine["cells"])
        return fresh_id(piece.cell, self._taken(), self._mine, as_lines=has_lines)

    def take_out(self) -> None:
        """Remove what the new release no longer has, but for what the student worked on."""
        for piece, index in self._pairs.dropped.items():
            slot = next(s for s in self._slots if s.cell is self._mine["cells"][index])
            if piece.is_locked or text_of(slot.cell) == piece.text:
                self._gone.add(id(slot))
                self.changes.append(Change("removed", label(piece)))
            else:
                self.conflicts.append(Conflict("answer left over", label(piece)))

    def _slot(self, piece: Piece) -> _Slot | None:
        return next((slot for slot in self._slots if slot.piece is piece), None)

    def _taken(self) -> set[str]:
        return {str(slot.cell.get("id")) for slot in self._slots}
