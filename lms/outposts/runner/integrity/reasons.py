"""Every reason for which a test cell, or a notebook, is not verified; for instructors."""

from lms.protocol import grading
from lms.protocol.sentences import Sentence, sentence

#: The template by which rooms know that the two runs disagree.
SCORES_DIFFER = grading.SCORES_DIFFER


def scores_differ(cell: str, shared: float, split: float) -> Sentence:
    """Say that the split run scored otherwise."""
    return Sentence(SCORES_DIFFER, {"cell": cell, "shared": shared, "split": split})


def marked(cell: str) -> Sentence:
    """Say that the instructor wants the test to run in the student's interpreter."""
    return sentence(
        "The test %(cell)s is marked in-process: it shares the student's interpreter.", cell=cell
    )


def looks_inside(cell: str, name: str) -> Sentence:
    """Say that the test looks at the interpreter itself."""
    return sentence(
        "The test %(cell)s uses %(name)s, which only means something in the student's interpreter.",
        cell=cell,
        name=name,
    )


def unsafe(cell: str, name: str) -> Sentence:
    """Say that the test could run what a student returns."""
    return sentence(
        "The test %(cell)s uses %(name)s, which could run code that a student's answer gives it.",
        cell=cell,
        name=name,
    )


def not_python(cell: str) -> Sentence:
    """Say that nobody can read the test."""
    return sentence("The test %(cell)s is not plain Python.", cell=cell)


def doubtful(cell: str, name: str) -> Sentence:
    """Say that a name comes from a cell that needed the student's interpreter."""
    return sentence(
        "The test %(cell)s uses %(name)s, which a cell makes that needs the student's interpreter.",
        cell=cell,
        name=name,
    )


def odd_share(cell: str, value: str) -> Sentence:
    """Say that a number on the last line is no share of the points."""
    return sentence(
        "The test %(cell)s ends in %(value)s, which is no share of its points.",
        cell=cell,
        value=value,
    )


def own_share(cell: str, name: str) -> Sentence:
    """Say that a student's own value on the last line would be the score."""
    return sentence(
        "The test %(cell)s ends in a value of the student's %(name)s, which would be its score.",
        cell=cell,
        name=name,
    )


def student_ended(cell: str) -> Sentence:
    """Say that the student's process did not live to see the test."""
    return sentence(
        "The student's code ended before the test %(cell)s when it ran apart from the tests.",
        cell=cell,
    )


def tests_ended(cell: str) -> Sentence:
    """Say that the tests' own process did not live to see the test's end."""
    return sentence(
        "The test %(cell)s did not come to its end apart from the student's code.", cell=cell
    )


def cannot_run(why: str) -> Sentence:
    """Say that the notebook needs more than cells."""
    return sentence(
        "The notebook cannot be run apart from its tests: it needs %(why)s.", why=why or "a kernel"
    )


def remarked(cell: str, code: str, about: str) -> Sentence:
    """Say in words why the tests' side could not go on."""
    known = _REMARKS.get(code)
    if known is None:
        return tests_ended(cell)
    return Sentence(known.template, {"cell": cell, "about": about})


_REMARKS = {
    "object": sentence(
        "The test %(cell)s uses an object of the student's (%(about)s), which could lie about "
        "itself.",
        cell="",
        about="",
    ),
    "compared": sentence(
        "The test %(cell)s compares or combines a student's object (%(about)s) with a value.",
        cell="",
        about="",
    ),
    "argument": sentence(
        "The test %(cell)s hands the student's code something that is no plain data: %(about)s.",
        cell="",
        about="",
    ),
    "changed": sentence(
        "The student's code changed an argument of the test %(cell)s (%(about)s) in a way that "
        "cannot be carried over.",
        cell="",
        about="",
    ),
    "subclass": sentence(
        "The test %(cell)s derives a class from a student's class (%(about)s).", cell="", about=""
    ),
    "broken": sentence(
        "An answer of the student's code to the test %(cell)s could not be read: %(about)s.",
        cell="",
        about="",
    ),
    "gone": sentence(
        "The student's code ended during the test %(cell)s when it ran apart from the tests.",
        cell="",
    ),
}


#: What may come out otherwise when a test is asked at another moment.
OF_THE_MOMENT = frozenset(
    {
        SCORES_DIFFER,
        student_ended("").template,
        tests_ended("").template,
        *(_REMARKS[code].template for code in ("gone", "changed", "broken")),
    }
)


def unasked() -> Sentence:
    """Say that the student's process answered what nobody asked."""
    return sentence("The student's code answered questions that nobody had asked.")


def broken_line() -> Sentence:
    """Say that the student's process wrote on the line itself."""
    return sentence("The student's code wrote on the line between it and the grader.")


def canary_passed(cell: str, what: str) -> Sentence:
    """Say that a check that must fail did not."""
    return sentence(
        "In the student's interpreter a check that must fail passed after the test %(cell)s: "
        "%(what)s.",
        cell=cell,
        what=what,
    )
