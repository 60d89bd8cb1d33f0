"""What rendered course content may hold: text, tables, code, pictures, formulas; no script."""

import base64
import binascii
import re

import nh3
from pygments.token import STANDARD_TYPES

_MATHML = {
    "math", "mi", "mn", "mo", "ms", "mspace", "mtext", "menclose", "merror", "mfrac", "mpadded",
    "mphantom", "mroot", "mrow", "msqrt", "mstyle", "mmultiscripts", "mover", "mprescripts",
    "msub", "msubsup", "msup", "munder", "munderover", "mtable", "mtr", "mtd",
}  # fmt: skip
_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del",
    "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "rp", "rt", "ruby", "s",
    "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "u", "ul", "var",
}  # fmt: skip
_MATH_ATTRIBUTES = {
    "display", "displaystyle", "mathvariant", "mathsize", "mathcolor", "stretchy", "fence", "form",
    "largeop", "movablelimits", "accent", "accentunder", "lspace", "rspace", "linethickness",
    "columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines", "width", "height",
    "depth", "voffset", "notation", "scriptlevel", "separator", "symmetric", "minsize", "maxsize",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"lang", "title", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "details": {"open"},
    "pre": {"tabindex"},
    "div": {"tabindex"},
    **{f"h{level}": {"id"} for level in range(2, 7)},
    **dict.fromkeys(_MATHML, _MATH_ATTRIBUTES),
}
_CLASSES: dict[str, set[str]] = {
    "span": {name for name in STANDARD_TYPES.values() if name} | {"math", "inline"},
    "pre": {"code", "out", "out-bad"},
    "div": {"cell", "cell-in", "cell-out", "scroll", "math", "block"},
    "code": {"formula"},
}
_HEADING_ID = re.compile(r"s-\d{1,4}")
_LINK = re.compile(r"(?:https?://|mailto:|#s-\d)", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,([A-Za-z0-9+/=\s]+)")


def clean(markup: str) -> str:
    """Return `markup` with all that could run, load or imitate the page taken out."""
    return nh3.clean(
        markup,
        tags=_TAGS | _MATHML,
        clean_content_tags={"script", "style", "template", "iframe", "object", "noscript"},
        attributes=_ATTRIBUTES,
        attribute_filter=_filter_attribute,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )


def picture_address(kind: str, content: str) -> str:
    """Return base64 `content` as a data address, or "" when it is no such picture."""
    address = f"data:{kind};base64,{''.join(content.split())}"
    return address if _is_picture(address) else ""


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "img" and name == "src":
        # Pictures from elsewhere would tell that site who reads what, and a centre has no line.
        return value if _is_picture(value) else None
    if tag == "a" and name == "href":
        return value if _LINK.match(value) else None
    if name == "id":
        return value if _HEADING_ID.fullmatch(value) else None
    if name == "tabindex":
        return "0"
    return value


def _is_picture(address: str) -> bool:
    match = _PICTURE.fullmatch(address)
    if match is None:
        return False
    try:
        return bool(base64.b64decode(match[2], validate=False))
    except (binascii.Error, ValueError):
        return False
