"""Wrong answers are made from right ones: small, in the solution alone, the same each time."""

import ast
import contextlib
import textwrap

import pytest

from lms.outposts.runner.redteam.answers import (
    SEEN,
    functions_of,
    hard_coded,
    recorder,
    thoughtless,
)
from lms.outposts.runner.redteam.mutations import mutate
from lms.outposts.runner.redteam.questions import AnswerCell, Question, TestCell, defined_names
from lms.outposts.runner.redteam.trials import choose


def notes(source: str) -> str:
    return "\n".join(f"{m.kind}: {m.note}" for m in mutate("q", textwrap.dedent(source)))


def answer(source: str) -> AnswerCell:
    text = textwrap.dedent(source).strip()
    return AnswerCell(grade_id="q", source=text, names=defined_names(text))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", "comparison: a < b → a <= b"),
        ("return a == b", "comparison: a == b → a != b"),
        ("return a + b", "arithmetic: a + b → a - b"),
        ("return a - b", "swapped operands: a - b → b - a"),
        ("return a and b", "logic: a and b → a or b"),
        ("return a[1:]", "off by one: 1 → 2"),
        ("return a[-1]", "off by one: 1 → 0"),
        ("return [x for x in range(a)]", "off by one: range(a) → range(a - 1)"),
        ("return a, b", "swapped results: return (a, b) → return (b, a)"),
        ("return a", "return None: return a → return None"),
        ("return a.mean(axis=0)", "option: a.mean(axis=0) → a.mean(axis=1)"),
        ("return a.std(ddof=1)", "option left out: a.std(ddof=1) → a.std()"),
        ("return a.std(ddof=1)", "off by one: 1 → 0"),
        ("return sorted(a)", "other function: sorted(a) → list(a)"),
        ("return sorted(a, reverse=True)", "constant: True → False"),
        ("return a.sort_values('x', ascending=False)", "constant: False → True"),
        ("return a.argmax()", "other function: a.argmax() → a.argmin()"),
        ("return a.copy()", "copy: a.copy() → a"),
        ("return list(a)", "copy: list(a) → a"),
        ("return f(a, b)", "swapped arguments: f(a, b) → f(b, a)"),
        ("return a if b else 0", "guard left out: a if b else 0 → a"),
        ("return [x for x in a if x]", "guard left out: [x for x in a if x] → [x for x in a]"),
    ],
)
def test_a_mistake_that_people_make_is_made(line: str, expected: str) -> None:
    assert expected in notes(f"def f(a, b):\n    {line}\n")


def test_statements_and_guards_are_left_out() -> None:
    made = notes(
        """
        def f(a):
            if not a:
                return 0
            a.append(1)
            total = 0
            for x in a:
                total += x
            a[0] = total
            return total
        """
    )
    assert "guard left out: without if not a" in made
    assert "statement left out: without a.append(1)" in made
    assert "statement left out: without total += x" in made
    assert "statement left out: without a[0] = total" in made
    assert "without total = 0" not in made


def test_only_what_students_write_is_changed() -> None:
    made = notes(
        """
        def f(a, b=1):
            '''Say 2 < 3.'''
            assert a > 0, 'a must be %d' % 5
            ### BEGIN SOLUTION
            if a > 7:
                raise ValueError(8)
            return a + b
            ### END SOLUTION
        """
    )
    assert "a > 7" in made
    for untouched in ("2 < 3", "a > 0", "5 →", "b=1", "8 →"):
        assert untouched not in made


def test_mutants_are_valid_different_and_the_same_each_time() -> None:
    source = "def f(a):\n    while a > 1:\n        a = a // 2 if a % 2 == 0 else a\n    return a\n"
    first, again = list(mutate("q", source)), list(mutate("q", source))
    assert first == again
    assert len({mutant.source for mutant in first}) == len(first) > 10
    assert ast.unparse(ast.parse(source)) not in {mutant.source for mutant in first}
    for mutant in first:
        compile(mutant.source, "<mutant>", "exec")
    # Kinds take turns, so that the first few are not all of one kind.
    assert len({mutant.kind for mutant in first[:4]}) == 4


def test_a_cell_with_magics_is_read_and_one_that_is_no_python_has_no_mutants() -> None:
    assert "arithmetic" in notes("%matplotlib inline\nx = 1 + 2\n")
    assert notes("this is no python") == ""


def test_thoughtless_answers_take_what_the_visible_tests_show() -> None:
    made = list(
        thoughtless(
            answer("def area(r):\n    return 3 * r * r"),
            ["assert area(2) == 12\nassert np.isclose(area(r=1), 3.5)\nassert other() == 99"],
        )
    )
    bodies = [mutant.source.splitlines()[-1].strip() for mutant in made]
    assert bodies == [
        *("return None", "return r", "return 12", "return 3.5", "return 0"),
        *("return ''", "return []"),
    ]
    assert {m.kind for m in made} == {"constant answer", "returns its argument"}


def test_classes_and_plain_values_have_thoughtless_answers() -> None:
    methods = list(thoughtless(answer("class Bag:\n    def add(self, x):\n        self.x = x"), []))
    assert [m.note for m in methods] == ["Bag.add does nothing"]
    values = [m.source for m in thoughtless(answer("best = max(scores)"), ["assert best == 7"])]
    assert values[:2] == ["best = None", "best = 7"]


def test_an_answer_learned_by_heart_knows_the_calls_it_saw_and_no_others() -> None:
    import numpy as np
    import pandas as pd

    cell = answer("def double(x, times=1):\n    return x * 2 * times")
    assert functions_of(cell.source) == ("double",)
    printed: list[str] = []
    space: dict[str, object] = {"print": lambda *words: printed.append(" ".join(map(str, words)))}
    exec(recorder(cell) or "", space)  # noqa: S102
    double = space["double"]
    assert callable(double)
    frame = pd.DataFrame({"a": [1, 2]})
    for value in (3, [1, 2], np.arange(3), frame, np.random.default_rng(4)):
        with pytest.raises(TypeError) if isinstance(value, np.random.Generator) else _fine():
            double(value)
    double(3, times=2)
    seen = {key for _, key in SEEN.findall("\n".join(printed))}
    assert len(seen) == 6
    mutant = hard_coded(cell, {"double": seen})
    assert mutant is not None
    exec(mutant.source, space)  # noqa: S102
    learned = space["double"]
    assert callable(learned)
    assert (learned(3), learned(3, times=2), learned([1, 2])) == (6, 12, [1, 2, 1, 2])
    assert learned(frame.copy()).equals(frame * 2)
    assert (learned(np.arange(3)) == np.arange(3) * 2).all()
    for other in (4, [1, 3], np.arange(4), np.arange(3.0), frame + 1):
        assert learned(other) is None


def _fine() -> "contextlib.nullcontext[None]":
    return contextlib.nullcontext()


def test_a_question_gets_no_more_than_asked_and_never_the_reference_itself() -> None:
    cell = answer("def one():\n    return 1")
    test = TestCell(grade_id="t", source="assert one() == 1", tags=frozenset())
    question = Question(answers=(cell,), tests=(test,))
    chosen = choose(question, {"t": test.source}, {}, 100)
    assert ast.unparse(ast.parse(cell.source)) not in {m.source for m in chosen}
    assert [m.note for m in chosen[:3]] == [
        *("the cell is empty", "one always returns None", "one always returns 0"),
    ]
    assert choose(question, {"t": test.source}, {}, 3) == chosen[:4]
