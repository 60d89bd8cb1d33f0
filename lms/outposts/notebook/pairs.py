"""Which cell of a copy is which cell of the release, before and after a correction.

Cells with a grade_id are known by it. Texts without one are known by their content, by the cell's
id, or by the place between two releases where one text stands for another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from lms.outposts.notebook.cells import Cell, Piece, grade_id_of, text_of


@dataclass(slots=True)
class Pairs:
    """How two releases and a copy belong together."""

    #: Pieces of the new release by what they were in the old one.
    old_of: dict[Piece, Piece]
    #: Where pieces of the new release stand in the copy.
    place_of: dict[Piece, int] = field(default_factory=dict)
    #: Pieces of the old release that are gone in the new one, and where they stand in the copy.
    dropped: dict[Piece, int] = field(default_factory=dict)
    #: Texts of both releases that the student took out.
    taken_out: set[Piece] = field(default_factory=set)

    def before(self, piece: Piece) -> Piece | None:
        """Return what a piece of the new release was in the old one."""
        return self.old_of.get(piece)


def pair(old: Sequence[Piece], new: Sequence[Piece], copy: Sequence[Cell]) -> Pairs:
    """Find out what belongs together."""
    pairs = Pairs({after: before for before, after in _between(old, new)})
    kept = set(pairs.old_of.values())
    used: set[int] = set()
    _place_marked(pairs, old, new, copy, used)
    texts = [piece for piece in new if not piece.is_marked]
    # Sure places first, so that no text takes the place of one that is there.
    for place in (_place_exact, _place_by_id):
        for piece in texts:
            if piece not in pairs.place_of:
                place(pairs, piece, copy, used)
    _place_dropped(pairs, [piece for piece in old if piece not in kept], copy, used)
    for piece in texts:
        if piece not in pairs.place_of:
            _place_alike(pairs, piece, copy, used)
    missing = {piece for piece in texts if piece not in pairs.place_of}
    pairs.taken_out = {piece for piece in missing if pairs.before(piece) is not None}
    return pairs


def _between(old: Sequence[Piece], new: Sequence[Piece]) -> Iterator[tuple[Piece, Piece]]:
    """Yield the pieces of both releases that are one and the same."""
    by_name = {name: piece for piece in new for name in _names(piece)}
    sure = [(piece, by_name[name]) for piece in old for name in _names(piece) if name in by_name]
    yield from sure
    # In the places between those, equal texts are one, and a text stands for the one it replaces.
    paired = {piece for both in sure for piece in both}
    for left, right in _gaps(old, new, sure):
        yield from _by_text(
            [piece for piece in left if piece not in paired and not piece.is_marked],
            [piece for piece in right if piece not in paired and not piece.is_marked],
        )


def _names(piece: Piece) -> list[tuple[str, str, str]]:
    """Return what surely names a piece: its grade_id, else its type and id."""
    if piece.is_marked:
        return [("grade_id", "", piece.grade_id)]
    known = piece.cell.get("id")
    return [] if known is None else [("id", piece.kind[0], str(known))]


def _gaps(
    old: Sequence[Piece], new: Sequence[Piece], sure: list[tuple[Piece, Piece]]
) -> Iterator[tuple[Sequence[Piece], Sequence[Piece]]]:
    """Yield what stands between sure pairs in either release; pairs that moved do not count."""
    start, begin = 0, 0
    for before, after in sure:
        place, index = old.index(before), new.index(after)
        if index >= begin:
            yield old[start:place], new[begin:index]
            start, begin = place + 1, index + 1
    yield old[start:], new[begin:]


def _by_text(left: list[Piece], right: list[Piece]) -> Iterator[tuple[Piece, Piece]]:
    kinds = [[piece.kind for piece in pieces] for pieces in (left, right)]
    matcher = SequenceMatcher(None, kinds[0], kinds[1], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(left[a:b], right[c:d], strict=True)
        elif tag == "replace":
            yield from _replaced(left[a:b], right[c:d])


def _replaced(left: list[Piece], right: list[Piece]) -> Iterator[tuple[Piece, Piece]]:
    for piece in left:
        match = next((other for other in right if other.kind[0] == piece.kind[0]), None)
        if match is not None:
            # Later texts stand for later ones, or the order would change.
            del right[: right.index(match) + 1]
            yield piece, match


def _place_marked(
    pairs: Pairs, old: Sequence[Piece], new: Sequence[Piece], copy: Sequence[Cell], used: set[int]
) -> None:
    """Find cells by grade_id; of several with one id the last bears it, as in grading."""
    last = {grade_id_of(cell): index for index, cell in enumerate(copy) if grade_id_of(cell)}
    used.update(index for index, cell in enumerate(copy) if grade_id_of(cell))
    for piece in new:
        if piece.is_marked and piece.grade_id in last:
            pairs.place_of[piece] = last[piece.grade_id]
    known = {piece.grade_id for piece in new if piece.is_marked}
    for piece in old:
        if piece.is_marked and piece.grade_id not in known and piece.grade_id in last:
            pairs.dropped[piece] = last[piece.grade_id]


def _place_exact(pairs: Pairs, piece: Piece, copy: Sequence[Cell], used: set[int]) -> None:
    """Place a text that has id and content of either release."""
    before = pairs.before(piece)
    found = None if before is None else _find_exact(copy, used, before)
    _take(pairs, piece, _find_exact(copy, used, piece) if found is None else found, used)


def _place_by_id(pairs: Pairs, piece: Piece, copy: Sequence[Cell], used: set[int]) -> None:
    """Place a text that the student edited."""
    before = pairs.before(piece)
    known = None if before is None else before.cell.get("id")
    if known is not None:
        same = (i for i, cell in enumerate(copy) if i not in used and cell.get("id") == known)
        _take(pairs, piece, next(same, None), used)


def _place_alike(pairs: Pairs, piece: Piece, copy: Sequence[Cell], used: set[int]) -> None:
    """Place a text by its content: formats before 4.5 and some tools keep no ids."""
    before = pairs.before(piece)
    found = next(_alike(copy, used, piece), None)
    if found is None and before is not None and before.text.strip():
        found = next(_alike(copy, used, before), None)
    _take(pairs, piece, found, used)


def _place_dropped(
    pairs: Pairs, gone: Sequence[Piece], copy: Sequence[Cell], used: set[int]
) -> None:
    """Find texts to take out: by id where cells have one, else by a text that says something."""
    for piece in gone:
        if piece.is_marked or not ("id" in piece.cell or piece.text.strip()):
            continue
        alike = next(_alike(copy, used, piece), None)
        index = _find_exact(copy, used, piece) if "id" in piece.cell else alike
        if index is not None:
            used.add(index)
            pairs.dropped[piece] = index


def _take(pairs: Pairs, piece: Piece, index: int | None, used: set[int]) -> None:
    if index is not None:
        used.add(index)
        pairs.place_of[piece] = index


def _find_exact(copy: Sequence[Cell], used: set[int], piece: Piece) -> int | None:
    known = piece.cell.get("id")
    if known is None:
        return None
    return next((i for i in _alike(copy, used, piece) if copy[i].get("id") == known), None)


def _alike(copy: Sequence[Cell], used: set[int], piece: Piece) -> Iterator[int]:
    for index, cell in enumerate(copy):
        if index not in used and (str(cell.get("cell_type")), text_of(cell)) == piece.kind:
            yield index


def _by_id(copy: Sequence[Cell], used: set[int], piece: Piece) -> int | None:
    known = piece.cell.get("id")
    if known is None:
        return None
    return next((i for i, c in enumerate(copy) if i not in used and c.get("id") == known), None)
