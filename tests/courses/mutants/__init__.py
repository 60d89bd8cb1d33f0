"""Plausible wrong answers, by course and assignment."""

from tests.courses.mutants import (
    leak_free_validation,
    letter_detective,
    linear_learners,
    thinking_in_arrays,
)
from tests.courses.mutants.base import Mutant

MUTANTS: dict[str, tuple[Mutant, ...]] = {
    "letter-detective": letter_detective.MUTANTS,
    "thinking-in-arrays": thinking_in_arrays.MUTANTS,
    "linear-learners": linear_learners.MUTANTS,
    "leak-free-validation": leak_free_validation.MUTANTS,
}
