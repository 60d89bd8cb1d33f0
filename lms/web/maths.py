"""LaTeX formulas as MathML, made on the server: no script and no CDN on any page."""

import html
from functools import lru_cache
from xml.etree.ElementTree import Element, tostring

from latex2mathml.converter import convert_to_element
from latex2mathml.exceptions import (
    DenominatorNotFoundError,
    DoubleSubscriptsError,
    DoubleSuperscriptsError,
    ExtraLeftOrMissingRightError,
    InvalidAlignmentError,
    InvalidStyleForGenfracError,
    InvalidWidthError,
    LimitsMustFollowMathOperatorError,
    MissingEndError,
    MissingSuperScriptOrSubscriptError,
    NoAvailableTokensError,
    NumeratorNotFoundError,
)

#: Longer formulas are shown as they were written: the converter is recursive.
MAX_FORMULA = 4000

#: What the converter raises on formulas that it does not understand.
_REFUSALS = (
    DenominatorNotFoundError,
    DoubleSubscriptsError,
    DoubleSuperscriptsError,
    ExtraLeftOrMissingRightError,
    InvalidAlignmentError,
    InvalidStyleForGenfracError,
    InvalidWidthError,
    LimitsMustFollowMathOperatorError,
    MissingEndError,
    MissingSuperScriptOrSubscriptError,
    NoAvailableTokensError,
    NumeratorNotFoundError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    StopIteration,
    RecursionError,
)


@lru_cache(maxsize=4096)
def render_formula(latex: str, *, block: bool) -> str:
    """Return `latex` as MathML, or as code where it cannot be converted. Not yet sanitised."""
    if len(latex) <= MAX_FORMULA:
        try:
            element = convert_to_element(latex, display="block" if block else "inline")
            _mend_text(element)
            return tostring(element, encoding="unicode")
        except _REFUSALS:
            pass
    shown = f'<code class="formula">{html.escape(latex)}</code>'
    return f"<p>{shown}</p>" if block else shown


def _mend_text(root: Element) -> None:
    # The converter leaves character references in texts and relies on unescaping the whole
    # document afterwards, which would also bring markup inside \text{…} to life.
    for element in root.iter():
        if element.text:
            element.text = html.unescape(element.text)
        if element.tail:
            element.tail = html.unescape(element.tail)
