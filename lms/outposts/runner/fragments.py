"""Pieces of HTML for feedback: whatever a notebook holds, made safe and standing alone."""

import base64
import html
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote
from xml.etree.ElementTree import tostring

import nh3
from latex2mathml.converter import convert_to_element

#: Longer formulas are shown as written: the converter is recursive.
_FORMULA = 4_000
#: Larger pictures of the release are left out of feedback.
_PICTURE_BYTES = 2 << 20
_KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_MATHML = {
    "math", "mi", "mn", "mo", "ms", "mspace", "mtext", "menclose", "merror", "mfrac", "mpadded",
    "mphantom", "mroot", "mrow", "msqrt", "mstyle", "mmultiscripts", "mover", "mprescripts",
    "msub", "msubsup", "msup", "munder", "munderover", "mtable", "mtr", "mtd",
}  # fmt: skip
_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del",
    "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "rp", "rt", "ruby",
    "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "u", "ul", "var",
}  # fmt: skip
_MATH_ATTRIBUTES = {
    "display", "displaystyle", "mathvariant", "mathsize", "stretchy", "fence", "form", "largeop",
    "movablelimits", "accent", "accentunder", "lspace", "rspace", "linethickness", "columnalign",
    "rowspacing", "columnspacing", "columnlines", "rowlines", "width", "height", "depth", "voffset",
    "notation", "scriptlevel", "separator", "symmetric", "minsize", "maxsize",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"lang", "title", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "details": {"open"},
    # Set by DataFrame's own pages and by ansi2html; what it may say is limited below.
    "span": {"style"},
    **dict.fromkeys(_MATHML, _MATH_ATTRIBUTES),
}
_STYLES = {"color", "background-color", "font-weight", "font-style", "text-decoration"}
_LINK = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
#: A picture's tag without `alt`; nothing in it is looked at twice.
_UNDESCRIBED = re.compile(r"<img\b(?![^<>]*\balt=)([^<>]*?)\s*/?>")
_PREFORMATTED = re.compile(r"(</?pre\b[^<>]*>)")
_BLANKS = re.compile(r"(?:^|(?<=>))[ \t\r\n\f]+(?=<|$)")
_NO_DESCRIPTION = "No description has been provided for this image"
_GONE = {"script", "style", "template", "iframe", "object", "noscript", "title", "textarea"}


def clean(markup: str, *, framing: bool = False) -> str:
    """Return `markup` balanced and without anything that runs, loads or covers the page.

    `framing` lets through the classes and anchors of nbgrader's template; a notebook's own
    markup must not have them, or it could draw a score of its own.
    """
    attributes = dict(_ATTRIBUTES)
    if framing:
        attributes |= {"*": _ATTRIBUTES["*"] | {"class", "id"}, "a": {"href", "name"}}
    return nh3.clean(
        markup,
        tags=_TAGS | _MATHML,
        clean_content_tags=_GONE,
        attributes=attributes,
        attribute_filter=_filter_attribute,
        allowed_classes=None if framing else {"span": _code_classes(), "div": {"highlight"}},
        filter_style_properties=_STYLES,
        set_tag_attribute_values={"pre": {"tabindex": "0"}} if framing else None,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )


def _code_classes() -> set[str]:
    from pygments.token import STANDARD_TYPES

    return {name for name in STANDARD_TYPES.values() if name}


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "img" and name == "src":
        # A picture from elsewhere would tell that site who reads this.
        return value if _PICTURE.fullmatch(value) else None
    if tag == "a" and name == "href":
        return value if _LINK.match(value) else None
    if name == "id":
        # nbgrader's template nests a frame of the same ids in itself.
        return value if value == "toc" else None
    return value


def squeeze(markup: str) -> str:
    """Return `markup` without the blanks between its tags, as nbconvert writes it."""
    pieces, is_kept = [], False
    for piece in _PREFORMATTED.split(markup):
        if _PREFORMATTED.fullmatch(piece):
            is_kept = not piece.startswith("</")
        pieces.append(piece if is_kept else _BLANKS.sub(_blank, piece))
    return "".join(pieces)


def _blank(blanks: re.Match[str]) -> str:
    return "\n" if "\n" in blanks[0] else " "


def describe_pictures(markup: str) -> str:
    """Return `markup` with a word for each picture that has none, as nbconvert says it.

    To be sanitised afterwards: in markup that is not, this can put words in a wrong place.
    """
    return _UNDESCRIBED.sub(rf'<img\1 alt="{_NO_DESCRIPTION}">', markup)


def formula(latex: str, *, block: bool) -> str:
    """Return `latex` as MathML, or as code where it cannot be converted."""
    if len(latex) <= _FORMULA:
        try:
            element = convert_to_element(latex, display="block" if block else "inline")
            for part in element.iter():
                # The converter leaves character references for a later unescaping.
                part.text = html.unescape(part.text) if part.text else part.text
                part.tail = html.unescape(part.tail) if part.tail else part.tail
            return clean(tostring(element, encoding="unicode"))
        except Exception:  # noqa: BLE001, S110 (a third party's parser on a student's text)
            pass
    shown = f"<code>{html.escape(latex)}</code>"
    return f"<p>{shown}</p>" if block else shown


def formulas_of(latex: str) -> str:
    """Return a `text/latex` output: a formula with or without its dollars."""
    text = latex.strip()
    for fence in ("$$", "$"):
        if len(text) > 2 * len(fence) and text.startswith(fence) and text.endswith(fence):
            return formula(text[len(fence) : -len(fence)], block=True)
    if text.startswith("\\[") and text.endswith("\\]"):
        text = text[2:-2]
    return formula(text, block=True)


def picture(files: Mapping[str, bytes], source: str) -> str:
    """Return the picture at `source` as a data address, or "" when the release has none there."""
    if _PICTURE.fullmatch(source):
        return source
    path = PurePosixPath(unquote(source)).as_posix()
    kind = _KINDS.get(PurePosixPath(path).suffix.lower())
    content = files.get(path)
    if kind is None or content is None or len(content) > _PICTURE_BYTES:
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
