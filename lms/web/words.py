"""Words for the catalogue's own terms: levels, kinds, compute, ways of handing in."""

from collections.abc import Mapping
from typing import Any

from lms.protocol.sentences import Sentence, sentence
from lms.web.i18n import gettext

_LEVELS: Mapping[str, Sentence] = {
    "foundation": sentence("Foundation"),
    "bachelor": sentence("Bachelor"),
    "graduate": sentence("Graduate"),
}
_KINDS: Mapping[str, Sentence] = {
    "certificate": sentence("Certificate"),
    "bachelor": sentence("Bachelor's degree"),
    "master": sentence("Master's degree"),
}
_VIAS: Mapping[str, Sentence] = {
    "page": sentence("uploaded in the page"),
    "notebook": sentence("from the notebook server"),
    "command": sentence("by lms submit"),
    "centre": sentence("at a centre"),
}
_LANGUAGES = {"ko": "한국어", "en": "English"}


def level_word(level: str) -> Sentence:
    """Return the word for a course's level."""
    return _LEVELS.get(level, sentence("Other"))


def kind_word(kind: str) -> Sentence:
    """Return the word for a programme's kind."""
    return _KINDS.get(kind, sentence("Programme"))


def via_word(via: str) -> Sentence:
    """Return how a submission came in."""
    return _VIAS.get(via, sentence("by another way"))


def language_words(keys: list[str]) -> tuple[str, ...]:
    """Return languages by their own names."""
    return tuple(_LANGUAGES.get(key, key) for key in keys)


def compute_words(compute: Mapping[str, Any]) -> str:
    """Say what a course's notebooks run on."""
    memory = compute.get("memory_mb")
    profile = str(compute.get("profile", "cpu"))
    place = gettext("CPU") if profile == "cpu" else gettext("GPU (%(name)s)", name=profile)
    if not isinstance(memory, int):
        return place
    amount = f"{memory / 1024:.1f}".rstrip("0").rstrip(".")
    return gettext("%(place)s, %(amount)s GB of memory", place=place, amount=amount)
