"""Search in the catalogue, decided from texts alone."""

import unicodedata
from collections.abc import Iterable


def matches(query: str, texts: Iterable[str]) -> bool:
    """Say whether every word of `query` stands somewhere in `texts`, inside words too.

    Korean writes compounds without spaces, so 통계 must find 확률통계: a plain substring does.
    """
    folded = [fold(text) for text in texts]
    return all(any(word in text for text in folded) for word in fold(query).split())


def fold(text: str) -> str:
    """Return `text` in one form: NFKC, without case."""
    return unicodedata.normalize("NFKC", text).casefold()
