"""What runs on which side follows from the release, never from the submission."""

from nbformat import NotebookNode
from nbformat.notebooknode import from_dict

from lms.outposts.runner.integrity.analysis import facts_of
from lms.outposts.runner.integrity.plan import Notebooks, Role, make_plan
from tests.factories.notebooks import Cell, checked, notebook, plain, read_only, solution


def _node(*cells: Cell) -> NotebookNode:
    node: NotebookNode = from_dict(notebook(*cells))
    return node


def test_facts_tell_bound_used_and_imported_names() -> None:
    facts = facts_of("import numpy as np\nfrom m import a as b\nx = np.ones(3)\ndef f(): return y")
    assert facts.bound == {"np", "b", "x", "f"}
    assert {"np", "y"} <= facts.used
    assert facts.imported == {"np", "b"}
    assert facts.origins == {"np": "numpy", "b": "m.a"}


def test_facts_name_what_is_unsafe_and_what_looks_inside() -> None:
    assert facts_of("exec(answer)").unsafe == "exec"
    assert facts_of("import pickle\npickle.loads(b)").unsafe == "pickle"
    assert facts_of("'f' in globals()").inside == "globals"
    assert facts_of("%time f()").is_python
    assert not facts_of("def (").is_python


def test_last_line_that_shows_an_answer_is_found() -> None:
    assert facts_of("answer(3)").shown == "answer"
    assert facts_of("x = answer(3)\nfloat(x[0])").shown == "answer"
    assert facts_of("sum(answer(n) == n for n in (1, 2))").shown == "sum"
    assert facts_of("assert answer(3)").shown == ""


def test_classes_bring_their_operators() -> None:
    facts = facts_of(
        "@dataclass(order=True)\nclass P:\n    x: int\n"
        "class V:\n    def __add__(self, o): ...\nclass W(V):\n    def __len__(self): ..."
    )
    assert "__lt__" in facts.classes["P"]
    assert facts.classes["W"] == ["__len__", "__add__"]


def test_plan_keeps_tests_from_the_student_and_answers_from_the_tests() -> None:
    cells = [
        plain("import math"),
        plain("print('nobody needs this')"),
        read_only("setup", "def agree(a, b): assert a == b"),
        solution("answer", "import json\ndef f(): return 1"),
        plain("helper = f()"),
        checked("t", 1, "agree(f(), math.floor(helper))"),
        plain("after = 1"),
    ]
    student = [*cells]
    student[3] = solution("answer", "def f(): return 2\nagree = print")
    released = _node(*cells)
    made = make_plan(
        Notebooks(source=released, released=released, merged=_node(*student), executed=released)
    )
    assert "agree(f(), math.floor(helper))" not in made.student
    assert "def f(): return 2\nagree = print" in made.student
    assert [step.source for step in made.steps] == [
        "import math",
        "def agree(a, b): assert a == b",
        "helper = f()",
        "agree(f(), math.floor(helper))",
    ]
    assert made.steps[2].answered == {"f"}
    assert made.steps[-1].role is Role.TEST
    assert made.steps[-1].before == 5
