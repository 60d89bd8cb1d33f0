"""What tests may do with the student's names when they run apart from the student's code."""

import socket
from typing import NoReturn

import pytest

from lms.outposts.broker.launcher import DirectLauncher, KernelRequest
from lms.outposts.runner.integrity import reasons
from lms.outposts.runner.integrity.plan import IN_PROCESS
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Integrity
from tests.factories.judged import JudgedNotebook, judge
from tests.factories.notebooks import (
    Cell,
    answered,
    checked,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

NAME = "split"

ANSWER = """
import random, warnings
from dataclasses import dataclass

def fill(numbers, table, array):
    numbers.append(numbers[0])
    table["n"] = len(numbers)
    array *= 2

def loud(x):
    print("out", x)
    return x

def complain(x):
    import sys
    print("no", file=sys.stderr)
    return x

def warn(x):
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    return x

def pick(n):
    return [random.random(), float(np.random.normal())][:n]

def apply(function, values):
    return [function(value) for value in values]

def count_up():
    n = 0
    while True:
        n = (yield n) or n + 1

def adder(n):
    return lambda x: x + n

def inner(x):
    return x + 1

def outer(x):
    return inner(x) * 2

class Broke(ValueError):
    def __init__(self, amount):
        super().__init__(f"short of {amount}")
        self.amount = amount

def pay(amount):
    raise Broke(amount)

class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)
    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)
    def __len__(self):
        return 2
    def __repr__(self):
        return f"Vector({self.x}, {self.y})"

class Unit(Vector):
    @classmethod
    def along_x(cls):
        return cls(1, 0)

@dataclass
class Pair:
    one: int
    two: int

def chain(node):
    return [] if node is None else [node.value, *chain(node.next)]

def link(values):
    first = None
    for value in reversed(values):
        first = Node(value, first)
    return first

def table(n):
    import pandas as pd
    return pd.DataFrame({"n": range(n), "text": ["a"] * n})

def greet():
    return "hello " + input("who? ")

def same(x):
    return x
"""
TESTS = {
    "t_arguments": """
        one, two, three = [1, 2], {}, np.ones(3)
        assert fill(one, two, three) is None
        assert one == [1, 2, 1] and two == {"n": 3} and three.tolist() == [2, 2, 2]
        """,
    "t_output": """
        import contextlib, io
        with contextlib.redirect_stdout(io.StringIO()) as heard:
            assert loud(3) == 3
        assert heard.getvalue() == "out 3\\n"
        """,
    "t_warning": """
        import warnings as _w
        with _w.catch_warnings(record=True) as caught:
            _w.simplefilter("always")
            assert warn(1) == 1
        assert [w.category for w in caught] == [DeprecationWarning]
        with _w.catch_warnings():
            _w.simplefilter("error")
            try:
                warn(1)
            except DeprecationWarning:
                pass
            else:
                raise AssertionError("not raised")
        """,
    "t_random": """
        import random
        random.seed(3); np.random.seed(4)
        drawn = pick(2)
        random.seed(3); np.random.seed(4)
        assert drawn == [random.random(), float(np.random.normal())]
        after = random.random()
        random.seed(3)
        pick(1)
        assert random.random() == after
        """,
    "t_callbacks": """
        seen = []
        def twice(x):
            seen.append(x)
            return 2 * x
        assert apply(twice, [1, 2]) == [2, 4] and seen == [1, 2]
        class Mine(Exception): pass
        def fail(x):
            raise Mine("here")
        try:
            apply(fail, [1])
        except Mine as error:
            assert str(error) == "here"
        else:
            raise AssertionError("not raised")
        """,
    "t_generator": """
        import itertools, types
        counting = count_up()
        assert isinstance(counting, types.GeneratorType)
        assert list(itertools.islice(counting, 3)) == [0, 1, 2]
        assert counting.send(10) == 10 and next(counting) == 11
        """,
    "t_closure": "assert adder(3)(4) == 7 and callable(adder(1))",
    "t_renamed": """
        kept = inner
        inner = lambda x: 100
        assert outer(1) == 200
        del inner
        try:
            outer(1)
        except NameError:
            pass
        else:
            raise AssertionError("does not use inner")
        inner = kept
        assert outer(1) == 4
        """,
    "t_after": "assert outer(2) == 6",
    "t_exception": """
        try:
            pay(3)
        except Broke as error:
            assert str(error) == "short of 3" and error.amount == 3
            assert isinstance(error, ValueError)
        """,
    "t_class": """
        one = Vector(1, 2)
        assert one + Vector(2, 2) == Vector(3, 4) and one != Vector(0, 0)
        assert one.x == 1 and len(one) == 2 and repr(one) == "Vector(1, 2)"
        assert isinstance(Unit.along_x(), Vector) and Pair(1, 2) == Pair(1, 2)
        one.x = 5
        assert one.x == 5
        """,
    "t_given": """
        assert chain(Node(1, Node(2, None))) == [1, 2]
        made = link([3, 4])
        assert isinstance(made, Node) and made.next.value == 4 and made.next.next is None
        """,
    "t_table": """
        made = table(3)
        assert list(made.columns) == ["n", "text"] and made.n.sum() == 3
        """,
    "t_input": """
        import unittest.mock
        with unittest.mock.patch("builtins.input", return_value="seodang"):
            assert greet() == "hello seodang"
        """,
    "t_same": """
        _list = [1]
        assert same(_list) is _list and same([1]) is not _list
        assert same(np.float32(1.5)).dtype == np.float32 and same((1, [2])) == (1, [2])
        assert np.isnan(same(float("nan"))) and same(None) is None and same(10 ** 40) == 10 ** 40
        """,
}
CELLS: tuple[Cell, ...] = (
    read_only(
        "setup",
        """
        import numpy as np
        class Node:
            def __init__(self, value, next):
                self.value, self.next = value, next
        """,
    ),
    solution("answer", f"### BEGIN SOLUTION\n{ANSWER}\n### END SOLUTION"),
)


def _source(*cells: Cell) -> AssignmentSource:
    return AssignmentSource(name=NAME, files={f"{NAME}.ipynb": to_bytes(notebook(*cells))})


def _judged(launcher: DirectLauncher, source: AssignmentSource, answer: str) -> JudgedNotebook:
    released = build(source).student_files[f"{NAME}.ipynb"]
    files = {f"{NAME}.ipynb": answered(released, {"answer": answer})}
    return judge(source, files, launcher)[NAME]


def test_tests_work_apart_as_they_do_in_one_process(launcher: DirectLauncher) -> None:
    source = _source(*CELLS, *(checked(name, 1, text) for name, text in TESTS.items()))
    judged = _judged(launcher, source, ANSWER)
    assert judged.scores == dict.fromkeys(TESTS, 1)
    reasons_given = {name: str(cell.reason) for name, cell in judged.report.cells.items()}
    assert judged.report.integrity is Integrity.VERIFIED, reasons_given


@pytest.mark.parametrize(
    ("cells", "test", "reason"),
    [
        ((), "assert thing().answer == 42", reasons.remarked("t", "object", "Thing")),
        ((), "assert thing() == 42", reasons.remarked("t", "object", "Thing")),
        ((), "assert eval(text()) == 2", reasons.unsafe("t", "eval")),
        ((), "assert 'text' in globals()", reasons.looks_inside("t", "globals")),
        ((), "shown = text()\nstr(shown)", reasons.own_share("t", "text")),
        (
            (read_only("made", "copied = thing().answer"),),
            "assert copied == 42",
            reasons.doubtful("t", "copied"),
        ),
    ],
    ids=["attribute", "comparison", "eval", "globals", "own share", "doubtful"],
)
def test_what_cannot_be_verified_says_why(
    launcher: DirectLauncher, cells: tuple[Cell, ...], test: str, reason: object
) -> None:
    # The reference returns plain data, so nothing tells the student's class from a forged one.
    reference = "def thing(): return 42\ndef text(): return '1 + 1'"
    source = _source(
        solution("answer", f"### BEGIN SOLUTION\n{reference}\n### END SOLUTION"),
        *cells,
        checked("t", 1, test),
    )
    answer = (
        "class Thing:\n    answer = 42\n    def __eq__(self, other): return other == 42\n"
        "def thing(): return Thing()\ndef text(): return '1 + 1'"
    )
    judged = _judged(launcher, source, answer)
    assert judged.scores == {"t": 1}
    cell = judged.report.cells["t"]
    assert (cell.integrity, cell.reason) == (Integrity.UNVERIFIED, reason)


def test_marked_cells_stay_in_process_and_disagreement_is_said(launcher: DirectLauncher) -> None:
    marked = checked("t_marked", 1, "assert value() == 1")
    marked["metadata"]["tags"] = [IN_PROCESS]
    source = _source(
        plain("import math"),
        solution(
            "answer", "def value():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
        ),
        marked,
        checked("t_other", 2, "assert value() == math.floor(1.5)"),
    )
    judged = _judged(
        launcher,
        source,
        "import traceback\ndef value():\n"
        "    asked = any('answers' in place.filename for place in traceback.extract_stack())\n"
        "    return 0 if asked else 1",
    )
    assert judged.report.cells["t_marked"].reason == reasons.marked("t_marked")
    reason = judged.report.reason
    assert reason == reasons.scores_differ("t_other", 2.0, 0.0)
    assert reason is not None
    assert reason.template == reasons.SCORES_DIFFER
    assert judged.report.integrity is Integrity.UNVERIFIED


class _NoLauncher(DirectLauncher):
    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> NoReturn:
        raise AssertionError("nothing is to be run", request, channel)


def test_zeros_need_no_second_run() -> None:
    from lms.outposts.runner.integrity import Notebooks, verify
    from lms.outposts.runner.running import Started
    from tests.factories.judged import LIMITS

    source = _source(solution("answer", "x = 1"), checked("t", 1, "assert x == 2"))
    released = build(source).released[NAME]
    report = verify(
        Notebooks(source=released, released=released, merged=released, executed=released),
        {"t": 0.0},
        Started(launcher=_NoLauncher(), files={}, limits=LIMITS, fonts={}),
    )
    assert report.integrity is Integrity.VERIFIED
