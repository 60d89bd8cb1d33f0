"""Sentences that keep their parts, so that a door can say them in the reader's language."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Fact = str | int | float


@dataclass(frozen=True, slots=True)
class Sentence:
    """An English template with named facts; the template is also the key of its translations."""

    template: str
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.facts if self.facts else self.template

    def to_json(self) -> dict[str, object]:
        """Return the parts as JSON values."""
        return {"template": self.template, "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, value: object) -> "Sentence":
        """Rebuild a sentence; raises ValueError when `value` is not what `to_json` made."""
        if not isinstance(value, dict):
            raise ValueError("a sentence is an object with template and facts")  # noqa: TRY004
        template, facts = value.get("template"), value.get("facts", {})
        if not isinstance(template, str) or not isinstance(facts, dict):
            # One kind of error for all that is not a sentence, as the docstring says.
            raise ValueError("a sentence is an object with template and facts")  # noqa: TRY004
        return cls(template, facts)


def sentence(template: str, **facts: Fact) -> Sentence:
    """Return `template` with its `facts`; message extraction looks for this function's name."""
    return Sentence(template, facts)
