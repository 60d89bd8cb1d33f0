"""Course content as HTML in the page: Markdown and notebooks, formulas and code prepared here."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from lms.foundation.errors import UnavailableError
from lms.protocol.sentences import sentence
from lms.web.i18n import Locale
from lms.web.maths import render_formula
from lms.web.sanitising import clean, picture_address

#: Lines and characters of one output that are shown; the notebook itself has all of them.
MAX_OUTPUT_LINES = 120
MAX_OUTPUT_CHARACTERS = 20_000
#: Deepest heading in the outline.
OUTLINE_DEPTH = 3
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_RULE = re.compile(r"\A\s*(?:-{3,}|\*{3,}|_{3,})\s*\n")
_TWO_LANGUAGES = re.compile(r"((?:[\d.]+\s+)?)([^·]*[가-힣][^·]*) · ([^·가-힣]+)")
_SCROLLING = (
    ("<table>", '<div class="scroll" tabindex="0"><table>'),
    ("</table>", "</table></div>"),
    ('<div class="math block">', '<div class="math block" tabindex="0">'),
)
_FORMATTER = HtmlFormatter(nowrap=True)
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@dataclass(frozen=True, slots=True)
class Heading:
    """One entry of a reading's outline."""

    anchor: str
    text: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A rendered unit: safe HTML, its outline, how long it takes, and whether it has more texts."""

    html: Markup
    outline: tuple[Heading, ...]
    minutes: int
    #: True when cells in the other language were left out.
    has_other_language: bool


class BrokenContentError(UnavailableError):
    """A unit's file cannot be shown; the file, not the reader, is at fault."""

    def __init__(self, name: str) -> None:
        super().__init__(
            sentence(
                "“%(name)s” is not a readable notebook. Please tell the course's instructor.",
                name=name,
            )
        )


@lru_cache(maxsize=128)
def render_unit(name: str, content: bytes, locale: Locale | None) -> Reading:
    """Render a unit's file; `locale` keeps one language of a bilingual notebook, None keeps both.

    Raises BrokenContentError. Kept in memory by content, since readers of a class share it.
    """
    if name.endswith(".ipynb"):
        return _render_notebook(name, content, locale)
    source = content.decode("utf-8", "replace")
    writer = _Writer()
    return writer.finish(writer.markdown(source), [source], has_other_language=False)


def render_markdown(source: str) -> Markup:
    """Render a short text, such as a summary."""
    return Markup(clean(_Writer().markdown(source)))  # noqa: S704 - just sanitised


def _render_notebook(name: str, content: bytes, locale: Locale | None) -> Reading:
    try:
        document = json.loads(content)
        cells = [cell for cell in document["cells"] if isinstance(cell, dict)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BrokenContentError(name) from None
    kept = [cell for cell in cells if locale is None or _language(cell) in {None, locale}]
    writer = _Writer(_lexer_name(document), locale)
    parts = [writer.cell(cell) for cell in kept]
    return writer.finish(
        "".join(parts),
        [_text(cell.get("source")) for cell in kept],
        has_other_language=len(kept) < len(cells),
    )


def _language(cell: Mapping[str, Any]) -> str | None:
    metadata = cell.get("metadata")
    if not isinstance(metadata, dict):
        return None
    language = metadata.get("lang")
    return language if language in {"ko", "en"} else None


def _lexer_name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) else "python"


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def highlight_code(source: str, lexer: str) -> str:
    """Return `source` as highlighted HTML in a block that the keyboard can scroll."""
    try:
        shown = highlight(source, get_lexer_by_name(lexer, stripnl=False), _FORMATTER)
    except ClassNotFound:
        shown = html.escape(source)
    return f'<pre class="code" tabindex="0"><code>{shown}</code></pre>'


class _Writer:
    """Renders the pieces of one document and collects its headings."""

    def __init__(self, lexer: str = "python", locale: Locale | None = None) -> None:
        self._lexer = lexer
        self._locale = locale
        self._headings: list[Heading] = []
        self._started = False
        self._engine = MarkdownIt(
            "commonmark", {"html": True, "highlight": _highlight_fence}
        ).enable(["table", "strikethrough"])
        dollarmath_plugin(
            self._engine,
            allow_labels=False,
            double_inline=True,
            renderer=lambda latex, options: render_formula(
                latex, block=bool(options.get("display_mode"))
            ),
        )

    def markdown(self, source: str, attachments: Mapping[str, Any] | None = None) -> str:
        """Return Markdown as HTML, not yet sanitised."""
        tokens = self._engine.parse(source)
        if not self._started and tokens and tokens[0].tag == "h1":
            # The page says the title already.
            tokens = tokens[3:]
        self._started = True
        self._settle_headings(tokens)
        if attachments:
            _settle_attachments(tokens, attachments)
        rendered: str = self._engine.renderer.render(tokens, self._engine.options, {})
        # What can be wider than the page scrolls by itself, by keyboard too.
        for plain, scrolling in _SCROLLING:
            rendered = rendered.replace(plain, scrolling)
        return rendered

    def cell(self, cell: Mapping[str, Any]) -> str:
        """Return one notebook cell as HTML, not yet sanitised."""
        source = _text(cell.get("source"))
        if cell.get("cell_type") == "markdown":
            attachments = cell.get("attachments")
            # Bilingual notebooks put a rule between the languages; one language needs none.
            text = _RULE.sub("", source) if _language(cell) else source
            return self.markdown(text, attachments if isinstance(attachments, dict) else None)
        if cell.get("cell_type") != "code":
            return f'<pre class="out" tabindex="0">{html.escape(source)}</pre>'
        outputs = cell.get("outputs")
        shown = "".join(map(self._output, outputs)) if isinstance(outputs, list) else ""
        below = f'<div class="cell-out">{shown}</div>' if shown else ""
        above = highlight_code(source, self._lexer) if source.strip() else ""
        return f'<div class="cell"><div class="cell-in">{above}</div>{below}</div>'

    def finish(self, body: str, sources: Iterable[str], *, has_other_language: bool) -> Reading:
        """Return the sanitised reading."""
        return Reading(
            html=Markup(clean(body)),  # noqa: S704 - just sanitised
            outline=tuple(heading for heading in self._headings if heading.level <= OUTLINE_DEPTH),
            minutes=reading_minutes("\n".join(sources)),
            has_other_language=has_other_language,
        )

    def _settle_headings(self, tokens: Sequence[Token]) -> None:
        # The page has the h1, so the document's own headings start at h2.
        for opening, inline in pairwise(tokens):
            if opening.type == "heading_open":
                level = min(int(opening.tag[1]) + (0 if opening.tag != "h1" else 1), 6)
                opening.tag = f"h{level}"
                self._keep_language(inline)
                anchor = f"s-{len(self._headings) + 1}"
                opening.attrSet("id", anchor)
                self._headings.append(Heading(anchor, _plain(inline), level))
        for token in tokens:
            if token.type == "heading_close" and token.tag == "h1":
                token.tag = "h2"

    def _keep_language(self, inline: Token) -> None:
        """Shorten a heading "3.1 한국어 · English" to the language that is read."""
        match = _TWO_LANGUAGES.fullmatch(inline.content)
        children = inline.children or []
        if self._locale is None or match is None or len(children) != 1:
            return
        number, korean, english = match.groups()
        children[0].content = number + (korean if self._locale == "ko" else english)

    def _output(self, output: object) -> str:
        if not isinstance(output, dict):
            return ""
        if output.get("output_type") == "stream":
            kind = "out-bad" if output.get("name") == "stderr" else "out"
            return _plain_output(_text(output.get("text")), kind)
        if output.get("output_type") == "error":
            return _plain_output("\n".join(map(str, output.get("traceback") or ())), "out-bad")
        data, metadata = output.get("data"), output.get("metadata")
        if not isinstance(data, dict):
            return ""
        return self._rich_output(data, metadata if isinstance(metadata, dict) else {})

    def _rich_output(self, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
        for kind in _PICTURES:
            if address := picture_address(kind, _text(data.get(kind))):
                return _picture(address, metadata.get(kind))
        if "text/html" in data:
            return f'<div class="scroll" tabindex="0">{_text(data["text/html"])}</div>'
        if "text/markdown" in data:
            return self.markdown(_text(data["text/markdown"]))
        if "text/latex" in data:
            return render_formula(_text(data["text/latex"]).strip().strip("$"), block=True)
        return _plain_output(_text(data.get("text/plain")), "out")


def _highlight_fence(source: str, language: str, _attributes: str) -> str:
    # The result starts with <pre, so markdown-it takes it as it is.
    return highlight_code(source, language or "text")


def _picture(address: str, facts: object) -> str:
    alt = facts.get("alt") if isinstance(facts, dict) else None
    return f'<img src="{address}" alt="{html.escape(alt if isinstance(alt, str) else "")}">'


def _plain_output(text: str, kind: str) -> str:
    if not text.strip():
        return ""
    plain = _ANSI.sub("", text[: MAX_OUTPUT_CHARACTERS + 1])
    lines = plain.splitlines()
    cut = len(lines) > MAX_OUTPUT_LINES or len(text) > MAX_OUTPUT_CHARACTERS
    shown = "\n".join(lines[:MAX_OUTPUT_LINES])
    end = "\n…" if cut else ""
    return f'<pre class="{kind}" tabindex="0">{html.escape(shown)}{end}</pre>'


def _plain(inline: Token) -> str:
    return "".join(
        child.content for child in inline.children or () if child.type in {"text", "code_inline"}
    )


def _settle_attachments(tokens: Sequence[Token], attachments: Mapping[str, Any]) -> None:
    for token in tokens:
        for child in token.children or ():
            source = str(child.attrGet("src") or "") if child.type == "image" else ""
            bundle = attachments.get(source.removeprefix("attachment:"))
            if source.startswith("attachment:") and isinstance(bundle, dict):
                kind = next((k for k in _PICTURES if k in bundle), "")
                child.attrSet("src", picture_address(kind, _text(bundle.get(kind))))


def reading_minutes(text: str) -> int:
    """Estimate the minutes to read `text`: 500 Hangul syllables or 200 other words a minute."""
    syllables = sum("가" <= letter <= "힣" for letter in text)
    words = len(re.findall(r"[A-Za-z0-9_]+", text))
    return max(1, round(syllables / 500 + words / 200))
