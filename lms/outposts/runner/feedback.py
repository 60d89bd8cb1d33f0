"""Feedback: nbgrader's own page about a graded notebook, made to stand alone and run nothing.

nbgrader's GenerateFeedback preprocessors and its `feedback` template write the body. Around it
stands a page of ours: no script, no address elsewhere, formulas as MathML, a stylesheet for
phones and dark rooms. It is served under `sandbox; default-src 'none'` and needs no more.
"""

import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from lms.outposts.runner.copies import copied
from lms.outposts.runner.fragments import formulas_of, squeeze
from lms.outposts.runner.gradebook import SubmissionGradebook, resources_for
from lms.outposts.runner.hidden import conceal
from lms.outposts.runner.quiet import QUIET
from lms.outposts.runner.release import BuiltRelease
from lms.outposts.runner.steps import ShowGrades
from lms.outposts.runner.template import PIECES, SHOWN, Pieces, cell_markup, frame
from lms.protocol.grading import NotebookResult

#: No sanitised markup holds it.
_BETWEEN = "\0"


def render_feedback(
    notebook: NotebookNode,
    release: BuiltRelease,
    gradebook: SubmissionGradebook,
    result: NotebookResult,
) -> bytes:
    """Return the feedback page of a graded notebook."""
    notebook = copied(notebook)
    conceal(notebook, release.released[result.notebook])
    resources = resources_for(release.name, result.notebook)
    notebook, resources = ShowGrades(gradebook, log=QUIET)(notebook, resources)
    around = _around(notebook, resources["nbgrader"])
    cells = (_shown(cell, release) for cell in notebook.cells)
    parts = [part for pair in zip(around, cells, strict=False) for part in pair]
    return page(result, _joined([*parts, around[-1]]))


def _around(notebook: NotebookNode, told: Mapping[str, Any]) -> list[str]:
    """Return the page around the cells, which is the same for all with the same scores."""
    facts = [(cell.cell_type, cell.metadata.get("nbgrader")) for cell in notebook.cells]

    def make() -> str:
        first, *others = frame(notebook, told)
        # The template starts at a fourth-level heading; on a page of its own it is the first.
        first = first.replace("<h4>", "<h1>", 1).replace("</h4>", "</h1>", 1)
        return _BETWEEN.join(map(squeeze, (first, *others)))

    return PIECES.get("frame", _digest([facts, told]), make).split(_BETWEEN)


def _shown(cell: NotebookNode, release: BuiltRelease) -> str:
    """Return the HTML of a cell, made now or for another submission that has the same one."""
    _prepare(cell)

    def make() -> str:
        pieces = Pieces(files=release.student_files, release=release.digest)
        _put_pieces(cell, pieces)
        return squeeze(cell_markup(cell, pieces))

    return PIECES.get("cell", _digest([release.digest, cell]), make)


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _joined(parts: Iterable[str]) -> str:
    """Join squeezed parts; where blanks of two meet between tags, one of them is enough."""
    joined: list[str] = []
    for part in filter(None, parts):
        blank = joined[-1][-1:] if joined else ""
        joined.append(part[1:] if blank.isspace() and part[0].isspace() else part)
    return "".join(joined)


def page(result: NotebookResult, inner: str = "") -> bytes:
    """Return a whole page; without `inner` it only says what became of the notebook."""
    name = html.escape(result.notebook)
    inner = inner or f"<h1>{name} (Score: {result.score:g} / {result.max_score:g})</h1>"
    reason = ""
    if result.reason is not None:
        state = html.escape(result.status.value.replace("_", " "))
        reason = f'<p class="reason"><b>{state}</b> {html.escape(str(result.reason))}</p>\n'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{_stylesheet()}</style>\n</head>\n"
        f"<body>\n<main>\n{reason}{inner}\n</main>\n</body>\n</html>\n"
    ).encode()


@lru_cache(maxsize=1)
def _stylesheet() -> str:
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    own = Path(__file__).with_name("feedback.css").read_text(encoding="utf-8")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


def _prepare(cell: NotebookNode) -> None:
    """Leave in a cell only what the template can show safely."""
    cell.metadata = NotebookNode(
        {key: value for key, value in cell.metadata.items() if key == "nbgrader"}
    )
    cell.pop("attachments", None)
    # The same cell has other ids in other notebooks; the template's anchor is not let through.
    cell.id = ""
    if cell.cell_type != "code":
        return
    for output in cell.outputs:
        if output.output_type in {"display_data", "execute_result"}:
            output.metadata = NotebookNode()
            output.data = NotebookNode(
                {
                    mime: output.data[mime]
                    for mime in SHOWN
                    if isinstance(output.data.get(mime), str)
                }
            )


def _put_pieces(cell: NotebookNode, pieces: Pieces) -> None:
    """Put tokens where a cell's outputs are HTML."""
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "text/html" in data:
            data["text/html"] = pieces.markup(data["text/html"])
        elif "text/latex" in data:
            data["text/html"] = pieces.markup(formulas_of(data.pop("text/latex")))
