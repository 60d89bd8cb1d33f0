"""A plausible wrong answer, and where it must lose its points."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One wrong answer to one question."""

    name: str
    #: grade_id of the test cell that must fail; the solution cell is `<question>-code`.
    question: str
    #: What the student wrote into the solution cell.
    source: str

    @property
    def cell(self) -> str:
        """Return the grade_id of the solution cell."""
        return f"{self.question}-code"
