"""Feedback: nbgrader's own page about a graded notebook, made to stand alone and run nothing.

nbgrader's GenerateFeedback preprocessors and its `feedback` template write the body. Around it
stands a page of ours: no script, no address elsewhere, formulas as MathML, a stylesheet for
phones and dark rooms. It is served under `sandbox; default-src 'none'` and needs no more.
"""

import copy
import html
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbgrader.converters import GenerateFeedback
from traitlets.config import Config

from lms.outposts.runner.fragments import clean, formula, formulas_of, picture
from lms.outposts.runner.hidden import conceal
from lms.outposts.runner.quiet import QUIET
from lms.protocol.grading import NotebookResult

_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg",
          "text/plain")  # fmt: skip
_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL)


def render_feedback(
    notebook: NotebookNode,
    released: NotebookNode,
    resources: dict[str, Any],
    files: Mapping[str, bytes],
    result: NotebookResult,
) -> bytes:
    """Return the feedback page of a graded notebook; `resources` lead to its gradebook."""
    notebook = copy.deepcopy(notebook)
    conceal(notebook, released)
    for cell in notebook.cells:
        _prepare(cell)
    body, _ = _Exporter(files).from_notebook_node(notebook, resources)
    match = _BODY.search(body)
    inner = clean(match[1] if match else "", framing=True)
    # The template starts at a fourth-level heading; on a page of its own it is the first.
    inner = inner.replace("<h4>", "<h1>", 1).replace("</h4>", "</h1>", 1)
    return page(result, inner)


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
    if cell.cell_type != "code":
        return
    for output in cell.outputs:
        if output.output_type not in {"display_data", "execute_result"}:
            continue
        output.metadata = NotebookNode()
        data = NotebookNode()
        for mime in _SHOWN:
            if isinstance(output.data.get(mime), str):
                data[mime] = output.data[mime]
        if "text/html" in data:
            data["text/html"] = clean(data["text/html"])
        elif "text/latex" in data:
            data["text/html"] = formulas_of(data.pop("text/latex"))
        output.data = data


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown with formulas as MathML and pictures of the release inside."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self._files = files

    def inline_math(self, body: str) -> str:
        """Write a formula within a line."""
        return formula(body, block=False)

    def block_math(self, body: str) -> str:
        """Write a formula on its own."""
        return formula(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        """Write an environment such as `align`."""
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

    def block_mermaidjs(self, code: str) -> str:
        """Write a drawing's source: nothing here could draw it."""
        return f"<pre>{html.escape(code)}</pre>"

    def _embed_image_or_attachment(self, src: str) -> str:
        return picture(self._files, src)


class _Exporter(HTMLExporter):
    """An HTML exporter set up as GenerateFeedback does, with our Markdown."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        import nbgrader

        formgrader = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader"
        config = Config()
        config.HTMLExporter.template_name = "feedback"
        config.HTMLExporter.extra_template_basedirs = [str(formgrader / "templates")]
        styles = formgrader / "static" / "node_modules" / "bootstrap" / "dist" / "css"
        config.HTMLExporter.extra_template_paths = [str(styles)]
        config.NbConvertBase.display_data_priority = list(_SHOWN)
        super().__init__(config=config, log=QUIET)
        self._files = files
        self._preprocessors = []
        for preprocessor in GenerateFeedback.preprocessors.default():
            self.register_preprocessor(preprocessor, enabled=True)

    def default_filters(self) -> Any:  # noqa: ANN401 (nbconvert's signature)
        """Return nbconvert's filters with Markdown replaced."""
        yield from super().default_filters()
        yield "markdown2html", self._markdown

    def _markdown(self, source: str) -> str:
        return clean(MarkdownWithMath(renderer=_Renderer(self._files)).render(source))
