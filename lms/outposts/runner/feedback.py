"""Feedback: nbgrader's own page about a graded notebook, made to stand alone and run nothing.

nbgrader's GenerateFeedback preprocessors and its `feedback` template write the body. Around it
stands a page of ours: no script, no address elsewhere, formulas as MathML, a stylesheet for
phones and dark rooms. It is served under `sandbox; default-src 'none'` and needs no more.
"""

import copy
import html
import re
from functools import lru_cache
from pathlib import Path

from nbformat import NotebookNode

from lms.outposts.runner.fragments import clean, describe_pictures, formulas_of, squeeze
from lms.outposts.runner.gradebook import SubmissionGradebook, resources_for
from lms.outposts.runner.hidden import conceal
from lms.outposts.runner.quiet import QUIET
from lms.outposts.runner.release import BuiltRelease
from lms.outposts.runner.steps import ShowGrades
from lms.outposts.runner.template import SHOWN, Pieces, render
from lms.protocol.grading import NotebookResult

_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL)


def render_feedback(
    notebook: NotebookNode,
    release: BuiltRelease,
    gradebook: SubmissionGradebook,
    result: NotebookResult,
) -> bytes:
    """Return the feedback page of a graded notebook."""
    notebook = copy.deepcopy(notebook)
    conceal(notebook, release.released[result.notebook])
    pieces = Pieces(files=release.student_files, release=release.digest)
    for cell in notebook.cells:
        _prepare(cell, pieces)
    resources = resources_for(release.name, result.notebook)
    notebook, resources = ShowGrades(gradebook, log=QUIET)(notebook, resources)
    match = _BODY.search(render(notebook, resources["nbgrader"], pieces))
    inner = clean(describe_pictures(match[1] if match else ""), framing=True)
    # The template starts at a fourth-level heading; on a page of its own it is the first.
    inner = inner.replace("<h4>", "<h1>", 1).replace("</h4>", "</h1>", 1)
    return page(result, squeeze(pieces.tokens.fill(inner)))


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


def _prepare(cell: NotebookNode, pieces: Pieces) -> None:
    """Leave in a cell only what the template can show safely."""
    cell.metadata = NotebookNode(
        {key: value for key, value in cell.metadata.items() if key == "nbgrader"}
    )
    cell.pop("attachments", None)
    if cell.cell_type != "code":
        return
    for output in cell.outputs:
        if output.output_type not in {"display_data", "execute_result"}:
            continue
        output.metadata = NotebookNode()
        data = NotebookNode()
        for mime in SHOWN:
            if isinstance(output.data.get(mime), str):
                data[mime] = output.data[mime]
        if "text/html" in data:
            data["text/html"] = pieces.markup(data["text/html"])
        elif "text/latex" in data:
            data["text/html"] = pieces.markup(formulas_of(data.pop("text/latex")))
        output.data = data
