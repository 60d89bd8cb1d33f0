"""What feedback may show: nothing that was made where the student's code met a hidden test.

Such code can read the test and say it again in any form, so that looking for it in what was shown
finds nothing. Outputs from the first hidden test on therefore come from a run apart, which is the
notebook as the student has it. Of what only the hidden tests did, the kind of the error is shown
and the author's own message.
"""

import ast
import builtins
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from lms.outposts.runner.integrity.analysis import facts_of, plain_tree
from lms.outposts.runner.integrity.plan import grade_id_of, is_test

_STRUCK = "[hidden]"
_TIMEOUT = "CellTimeoutError"
#: Outputs that a later cell can still change.
_CHANGEABLE = frozenset({"display_data", "execute_result"})
_MESSAGE = 10_000
_ERRORS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
) | {_TIMEOUT, "LinAlgError"}

#: Outputs by the place of their cell.
Outputs = Mapping[int, Sequence[NotebookNode]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPlan:
    """Which outputs of a notebook that ran beside hidden tests have to be made once more."""

    #: The notebook as it ran; with hidden tests.
    executed: NotebookNode
    #: The same cells as the student has them.
    merged: NotebookNode
    scores: Mapping[str, float | None]
    #: The place of the first cell with hidden tests; None where there are none.
    first: int | None = None
    #: Places of cells whose outputs the run apart makes.
    wanted: frozenset[int] = frozenset()
    #: Places of the cells that it executes.
    places: tuple[int, ...] = ()

    def sources(self) -> Iterator[tuple[int, str, bool]]:
        """Return place and source of what the run apart executes, and whether it is a test."""
        for place in self.places:
            cell = self.merged.cells[place]
            yield place, cell.source, is_test(cell)

    def shown(self, apart: Outputs) -> NotebookNode:
        """Return the notebook that feedback may show, with the outputs of the run apart."""
        if self.first is None:
            return self.executed
        shown = copy.copy(self.executed)
        shown.cells = list(self.executed.cells)
        count = 0
        for place, cell in enumerate(self.executed.cells):
            if not _is_code(cell):
                continue
            count += 1
            if place >= self.first or place in self.wanted:
                shown.cells[place] = self._cell(place, cell, count, apart.get(place))
        return shown

    def _cell(
        self, place: int, cell: NotebookNode, count: int, made: Sequence[NotebookNode] | None
    ) -> NotebookNode:
        shown = copy.copy(cell)
        if cell.get("execution_count") is not None:
            # Code can count otherwise.
            shown.execution_count = count
        if not cell.outputs:
            shown.outputs = []
        elif place not in self.wanted:
            shown.outputs = [_share(cell, self.scores[grade_id_of(cell)])]
        elif is_test(cell):
            shown.outputs = _of_test(cell, made, self.scores.get(grade_id_of(cell)))
        else:
            shown.outputs = [_stream("stdout")] if made is None else list(made)
        for output in shown.outputs:
            if output.output_type == "execute_result":
                output["execution_count"] = shown.execution_count
        return shown


def plan_shown(
    merged: NotebookNode, executed: NotebookNode, scores: Mapping[str, float | None]
) -> ShowPlan:
    """Plan what feedback shows of `executed`; `merged` is the same without hidden tests."""
    cells = executed.cells
    pairs = enumerate(zip(cells, merged.cells, strict=True))
    hidden = [place for place, (cell, open_) in pairs if cell.source != open_.source]
    first = next((place for place in hidden if _is_code(cells[place])), None)
    if first is None:
        return ShowPlan(executed=executed, merged=merged, scores=scores)
    wanted = frozenset(
        place
        for place, cell in enumerate(cells)
        if _is_code(cell) and _is_wanted(cell, scores, after=place >= first)
    )
    return ShowPlan(
        executed=executed,
        merged=merged,
        scores=scores,
        first=first,
        wanted=wanted,
        places=tuple(_places(merged, executed, wanted)),
    )


def _is_wanted(cell: NotebookNode, scores: Mapping[str, float | None], *, after: bool) -> bool:
    """Say whether a cell shows what its own run must not be believed to show."""
    if not after:
        return any(output.output_type in _CHANGEABLE for output in cell.outputs)
    is_plain = len(cell.outputs) == 1 and is_test(cell)
    return bool(cell.outputs) and not (is_plain and _is_share(cell, scores.get(grade_id_of(cell))))


def _places(merged: NotebookNode, executed: NotebookNode, wanted: frozenset[int]) -> Iterator[int]:
    """Return what to execute: no test but those that show something, or that cells after need."""
    used: set[str] = set()
    places = []
    for place in range(max(wanted, default=-1), -1, -1):
        cell = merged.cells[place]
        if not _is_code(cell):
            continue
        if is_test(cell):
            is_wanted = place in wanted and not _is_timed_out(executed.cells[place])
            if not is_wanted and not facts_of(cell.source).bound & used:
                continue
        used |= facts_of(cell.source).used
        places.append(place)
    yield from reversed(places)


def _is_code(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip())


def _is_share(cell: NotebookNode, score: float | None) -> bool:
    """Say whether the value that a cell shows is its score."""
    value = _value(cell)
    try:
        return value is not None and float(value) == score
    except ValueError:
        return False


def _value(cell: NotebookNode) -> str | None:
    values = [output for output in cell.outputs if output.output_type == "execute_result"]
    text = values[-1].data.get("text/plain") if values else None
    return text if isinstance(text, str) else None


def _share(cell: NotebookNode, score: float | None) -> NotebookNode:
    """Return a score as an output; other spellings of a number could say more."""
    text = f"{score:g}" if _value(cell) == f"{score:g}" else str(score)
    data = NotebookNode({"text/plain": text})
    return NotebookNode(
        output_type="execute_result", data=data, metadata=NotebookNode(), execution_count=None
    )


def _of_test(
    cell: NotebookNode, made: Sequence[NotebookNode] | None, score: float | None
) -> list[NotebookNode]:
    """Return what a test's shown lines gave, and of its hidden ones what decides the score."""
    outputs = list(made or ())
    if _is_share(cell, score):
        outputs = [output for output in outputs if output.output_type != "execute_result"]
        outputs.append(_share(cell, score))
    return [*outputs, *_missing(cell, outputs)]


def _missing(cell: NotebookNode, made: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """Return what decides a test's score and did not happen in the run apart."""
    if _is_loud(cell.outputs) and not _is_loud(made):
        yield _stream("stderr")
    error = _error(cell.outputs)
    if error is not None and _error(made) is None:
        name = error.ename if error.ename in _ERRORS else "Exception"
        message = "" if name == _TIMEOUT else _authors_message(cell.source, error.evalue)
        line = f"{name}: {message}" if message else name
        yield NotebookNode(output_type="error", ename=name, evalue=message, traceback=[line])


def _error(outputs: Sequence[NotebookNode]) -> NotebookNode | None:
    return next((output for output in outputs if output.output_type == "error"), None)


def _is_loud(outputs: Sequence[NotebookNode]) -> bool:
    return any(output.output_type == "stream" and output.name == "stderr" for output in outputs)


def _is_timed_out(cell: NotebookNode) -> bool:
    error = _error(cell.outputs)
    return error is not None and error.ename == _TIMEOUT


def _stream(name: str) -> NotebookNode:
    return NotebookNode(output_type="stream", name=name, text=_STRUCK + "\n")


def _authors_message(source: str, said: str) -> str:
    """Return which of the messages that a test's author wrote was said; its values are left out."""
    tree = plain_tree(source)
    if tree is None:
        return ""
    for parts, is_whole in _messages(tree):
        if _matches(parts, said[:_MESSAGE], is_whole=is_whole):
            return "…".join(parts)
    return ""


def _messages(tree: ast.Module) -> Iterator[tuple[list[str], bool]]:
    """Return the author's messages, as the parts around values, and whether they stand alone."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert(msg=ast.expr() as message):
                yield from _parts(message, is_whole=True)
            case ast.Raise(exc=ast.Call(args=[message, *_])):
                yield from _parts(message, is_whole=True)
            case ast.keyword(arg="msg" | "err_msg", value=message):
                yield from _parts(message, is_whole=False)


def _parts(message: ast.expr, *, is_whole: bool) -> Iterator[tuple[list[str], bool]]:
    match message:
        case ast.Constant(value=str(text)) if text.strip():
            yield [text], is_whole
        case ast.JoinedStr(values=values):
            parts = [""]
            for value in values:
                if isinstance(value, ast.Constant):
                    parts[-1] += str(value.value)
                else:
                    parts.append("")
            if any(part.strip() for part in parts):
                yield parts, is_whole


def _matches(parts: Sequence[str], said: str, *, is_whole: bool) -> bool:
    if is_whole and not (said.startswith(parts[0]) and said.endswith(parts[-1])):
        return False
    if is_whole and len(parts) == 1:
        return said == parts[0]
    place = 0
    for part in parts:
        found = said.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True
