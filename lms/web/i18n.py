"""Languages of the pages: which one to answer in, and how to say a sentence in it."""

from pathlib import Path
from typing import Literal

from flask import Flask, g, has_request_context, request
from flask_babel import Babel, get_locale
from flask_babel import gettext as _gettext
from flask_babel import ngettext as _ngettext

from lms.foundation.bilingual import Bilingual
from lms.protocol.sentences import Sentence

Locale = Literal["ko", "en"]

#: What the language switch offers, each in its own words.
LANGUAGES: dict[Locale, str] = {"ko": "한국어", "en": "English"}
#: Cookie that holds the choice of someone who is not signed in.
COOKIE = "seodang_language"
TRANSLATIONS_DIR = Path(__file__).parent / "translations"
#: British dates; the texts themselves are the message ids.
_BABEL_NAMES: dict[Locale, str] = {"ko": "ko", "en": "en_GB"}


def init_languages(app: Flask) -> None:
    """Give the app its languages and the templates the words to speak them."""
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", str(TRANSLATIONS_DIR))
    Babel(app, default_locale="ko", locale_selector=lambda: _BABEL_NAMES[choose_locale()])
    app.jinja_env.filters["say"] = say
    app.jinja_env.filters["other_language"] = other_language
    app.jinja_env.globals["locale"] = current_locale


def choose_locale() -> Locale:
    """Return the language: the person's own, else the cookie's, else what the browser asks."""
    if not has_request_context():
        return "ko"
    for wish in (g.get("locale"), request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return "ko" if wish == "ko" else "en"
    best = request.accept_languages.best_match(list(LANGUAGES), default="ko")
    return "en" if best == "en" else "ko"


def current_locale() -> Locale:
    """Return the language that this answer is written in."""
    locale = get_locale()
    return "en" if locale is not None and locale.language == "en" else "ko"


def gettext(message: str, **facts: object) -> str:
    """Return `message` in the language of this answer, filled with `facts`."""
    return str(_gettext(message, **facts))


def ngettext(one: str, many: str, num: int, **facts: object) -> str:
    """Return the form for `num` things in the language of this answer; %(num)s is the number."""
    return str(_ngettext(one, many, num, **facts))


def say(text: Sentence | Bilingual | str) -> str:
    """Return `text` in the language of this answer."""
    if isinstance(text, Sentence):
        return gettext(text.template, **{name: say_fact(v) for name, v in text.facts.items()})
    if isinstance(text, Bilingual):
        return text[current_locale()]
    return text


def say_fact(value: object) -> object:
    """Return a fact of a sentence as it is printed: whole numbers without a decimal point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def other_language(text: Bilingual) -> Bilingual | None:
    """Return `text` where the other language says it differently, else None."""
    return text if text.ko != text.en else None
