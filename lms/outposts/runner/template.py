"""nbgrader's own feedback template, set up once in a process, with our filters in it."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from IPython.lib.lexers import IPython3Lexer
from jinja2 import Template, pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from lms.outposts.runner.fragments import clean, describe_pictures, formula, picture
from lms.outposts.runner.pieces import Store, Tokens
from lms.outposts.runner.quiet import QUIET

#: What is shown of an output that comes in several forms: the first of these.
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg",
         "text/plain")  # fmt: skip
#: The head is ours, so nbgrader's megabyte of stylesheets is not rendered.
_WITHOUT_HEAD = "{% extends 'index.html.j2' %}{% block header %}{% endblock header %}"
#: nbgrader's page with a token for each cell, and the cells without the page around them.
_FRAME = f"{_WITHOUT_HEAD}{{% block any_cell %}}{{{{ resources.cell() }}}}{{% endblock any_cell %}}"
_CELLS = (
    f"{_WITHOUT_HEAD}{{% block body %}}{{{{ self.body_loop() }}}}{{% endblock body %}}"
    "{% block footer %}{% endblock footer %}"
)
_CODE_CLASSES = "highlight hl-ipython3"
PIECES = Store()
_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL)
_SHOW_ALL = dict.fromkeys(
    (
        *("include_code", "include_markdown", "include_raw", "include_unknown", "include_input"),
        *("include_output", "include_input_prompt", "include_output_prompt"),
    ),
    True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Makes the pieces of one cell: sanitised one by one, and known by tokens until the end."""

    #: The release's files, and what tells this release from others.
    files: Mapping[str, bytes]
    release: str
    tokens: Tokens = field(default_factory=Tokens)

    def code(self, source: str) -> str:
        """Return highlighted Python."""
        return self.tokens.put(PIECES.get("code", source, lambda: _framed(_highlighted(source))))

    def markdown(self, source: str) -> str:
        """Return Markdown as HTML, with the release's pictures in it."""
        # Where a picture may be shown, the piece is this release's alone.
        kind = ("markdown", self.release if "!" in source or "<" in source else "")
        return self.tokens.put(PIECES.get(kind, source, lambda: _framed(self._markdown(source))))

    def markup(self, source: str) -> str:
        """Return HTML that a notebook's code has shown."""
        return self.tokens.put(PIECES.get("html", source, lambda: _framed(clean(source))))

    def _markdown(self, source: str) -> str:
        return clean(MarkdownWithMath(renderer=_Renderer(self.files)).render(source))


def frame(notebook: NotebookNode, told: Mapping[str, Any]) -> list[str]:
    """Return the page around the cells: what is before the first, between two, after the last."""
    tokens = Tokens()
    markup = _template(_FRAME).render(
        nb=notebook, resources={"nbgrader": told, "cell": lambda: tokens.put("")}
    )
    match = _BODY.search(markup)
    return tokens.split(_framed(match[1] if match else ""))


def cell_markup(cell: NotebookNode, pieces: Pieces) -> str:
    """Return what nbgrader's template writes of one cell."""
    resources = {
        "pieces": pieces,
        "raw_mimetypes": ["text/html", ""],
        "output_mimetype": "text/html",
        "global_content_filter": _SHOW_ALL,
    }
    markup = _template(_CELLS).render(nb={"cells": [cell]}, resources=resources)
    return pieces.tokens.fill(_framed(markup))


def _framed(markup: str) -> str:
    """Sanitise a piece as the page around it is."""
    return clean(describe_pictures(markup), framing=True)


def _highlighted(source: str) -> str:
    return highlight(source or " ", IPython3Lexer(), HtmlFormatter(cssclass=_CODE_CLASSES))


@lru_cache(maxsize=2)
def _template(raw: str) -> Template:
    import nbgrader

    formgrader = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader"
    config = Config()
    config.HTMLExporter.template_name = "feedback"
    config.HTMLExporter.extra_template_basedirs = [str(formgrader / "templates")]
    exporter = _Exporter(config=config, log=QUIET, raw_template=raw)
    template: Template = exporter.template
    return template


class _Exporter(HTMLExporter):
    """Finds templates as nbconvert does; of its conversion nothing else is used."""

    def default_filters(self) -> Any:  # noqa: ANN401 (nbconvert's signature)
        """Return nbconvert's filters with those replaced that make a page's pieces."""
        yield from super().default_filters()
        yield "markdown2html", _markdown_filter
        yield "highlight_code", _code_filter
        yield "filter_data_type", _first_shown


@pass_context
def _markdown_filter(context: Context, source: str) -> str:
    pieces: Pieces = context["resources"]["pieces"]
    return pieces.markdown(source)


@pass_context
def _code_filter(context: Context, source: str, metadata: object = None) -> str:
    del metadata
    pieces: Pieces = context["resources"]["pieces"]
    return pieces.code(source)


def _first_shown(data: Mapping[str, object]) -> list[str]:
    return [mime for mime in SHOWN if mime in data][:1]


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
