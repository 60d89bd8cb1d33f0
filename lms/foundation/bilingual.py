"""A text in Korean and English, as written in course files and stored as JSON."""

from dataclasses import dataclass

from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from lms.foundation.db import Json


@dataclass(frozen=True, slots=True)
class Bilingual:
    """One text in both languages."""

    ko: str
    en: str

    def __getitem__(self, locale: str) -> str:
        """Return the text in `locale` ("ko" or "en"; anything else is English)."""
        return self.ko if locale == "ko" else self.en

    def __str__(self) -> str:
        return self.en


class BilingualText(TypeDecorator[Bilingual]):
    """A column of Bilingual, stored as {"ko", "en"}."""

    impl = Json
    cache_ok = True

    def process_bind_param(
        self, value: Bilingual | None, dialect: Dialect
    ) -> dict[str, str] | None:
        """Return the JSON to store."""
        del dialect
        return None if value is None else {"ko": value.ko, "en": value.en}

    def process_result_value(
        self, value: dict[str, str] | None, dialect: Dialect
    ) -> Bilingual | None:
        """Return what was stored."""
        del dialect
        return None if value is None else Bilingual(ko=value["ko"], en=value["en"])
