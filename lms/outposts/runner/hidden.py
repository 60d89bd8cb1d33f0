"""What a student must not read in a graded notebook: hidden tests and marking schemes.

Sources of locked cells go back to the release's, tracebacks of cells with something hidden are
cut to their last line, and lines of hidden source are struck out wherever output repeats them
literally. Code that encodes what it saw is not caught: it ran beside the tests.
"""

import html
import re
from collections.abc import Callable
from typing import Any

from nbformat import NotebookNode

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
#: Shorter lines (`pass`, `x = 1`) say nothing and would strike out honest output.
_TELLING = 8
_STRUCK = "[hidden]"


def conceal(notebook: NotebookNode, released: NotebookNode) -> None:
    """Take out of `notebook`, in place, what `released` does not show."""
    shown = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in released.cells
        if _grade_id(cell) is not None
    }
    strike = _striker(notebook, shown)
    for cell in notebook.cells:
        source = shown.get(_grade_id(cell))
        has_hidden = source is not None and _is_locked(cell) and cell.source != source
        if has_hidden:
            cell.source = source
        if cell.cell_type == "code":
            for output in cell.outputs:
                _conceal_output(output, strike, cut=has_hidden)


def hidden_lines(notebook: NotebookNode, shown: dict[str, str]) -> list[str]:
    """Return the telling lines of locked cells that the release does not show, longest first."""
    public = {line.strip() for source in shown.values() for line in source.splitlines()}
    lines: set[str] = set()
    for cell in notebook.cells:
        if _grade_id(cell) in shown and _is_locked(cell):
            lines |= {line.strip() for line in cell.source.splitlines()} - public
    return sorted((line for line in lines if len(line) >= _TELLING), key=len, reverse=True)


def _grade_id(cell: NotebookNode) -> Any:  # noqa: ANN401 (whatever the metadata holds)
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def _is_locked(cell: NotebookNode) -> bool:
    from nbgrader import utils

    return bool(utils.is_locked(cell) or utils.is_task(cell))


def _striker(notebook: NotebookNode, shown: dict[str, str]) -> Callable[[str], str]:
    """Return a function that strikes hidden lines out of a text, however it is quoted."""
    forms = {
        form
        for line in hidden_lines(notebook, shown)
        for form in (line, html.escape(line), repr(line)[1:-1], line.replace('"', '\\"'))
    }
    if not forms:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))

    def strike(text: str) -> str:
        plain = _ANSI.sub("", text)
        # Colours may run through a line, so look without them; keep them where nothing is hidden.
        return pattern.sub(_STRUCK, plain) if pattern.search(plain) else text

    return strike


def _conceal_output(output: NotebookNode, strike: Callable[[str], str], *, cut: bool) -> None:
    kind = output.output_type
    if kind == "stream":
        output.text = strike(output.text)
    elif kind == "error":
        output.evalue = strike(output.evalue)
        if cut:
            output.traceback = [f"{output.ename}: {output.evalue}".rstrip(": ")]
        else:
            output.traceback = strike("\n".join(output.traceback)).split("\n")
    elif kind in {"display_data", "execute_result"}:
        for mime, value in output.data.items():
            if isinstance(value, str) and not mime.startswith("image/p"):
                output.data[mime] = strike(value)
