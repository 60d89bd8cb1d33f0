"""Known cheats: answers that go for the points and not for the question.

Each is a trick that works on a grader that trusts the student's interpreter or file. None of them
works anything out, so whatever a test gives them above a blank answer was won by cheating.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

Notebook = dict[str, Any]

_YES = '''
class Yes(float):
    """Equal to everything, larger and smaller than anything, and whatever is asked of it."""
    __hash__ = float.__hash__
    def _yes(self, *args, **kwargs):
        return True
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = _yes
    def _self(self, *args, **kwargs):
        return self
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __abs__ = __neg__ = _self
    __truediv__ = __rtruediv__ = __pow__ = __call__ = __getitem__ = _self
    def __iter__(self):
        return iter(())
    def __len__(self):
        return 0
'''
_NOTHING = "def {name}(*args, **kwargs):\n    return None\n"
_SILENT = "lambda *args, **kwargs: None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheat:
    """One trick: what goes before a do-nothing answer, what each name becomes, the file's edit."""

    name: str
    prelude: str = ""
    #: Source for one name that the tests use; `{name}` stands for it.
    answer: str = _NOTHING
    edit: Callable[[Notebook, Sequence[str]], None] | None = None


def _skip_tests(notebook: Notebook, tests: Sequence[str]) -> None:
    for cell in notebook["cells"]:
        if _grade_id(cell) in tests:
            cell["metadata"]["tags"] = ["skip-execution"]


def _double_tests(notebook: Notebook, tests: Sequence[str]) -> None:
    doubles = [
        {**cell, "source": "pass", "metadata": dict(cell["metadata"])}
        for cell in notebook["cells"]
        if _grade_id(cell) in tests
    ]
    for number, cell in enumerate(doubles):
        if "id" in cell:
            cell["id"] = f"double-{number}"
    notebook["cells"] += doubles


def _empty_tests(notebook: Notebook, tests: Sequence[str]) -> None:
    for cell in notebook["cells"]:
        if _grade_id(cell) in tests:
            cell["source"] = "pass"


def _grade_id(cell: dict[str, Any]) -> str | None:
    nbgrader = cell.get("metadata", {}).get("nbgrader")
    return nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None


CHEATS: tuple[Cheat, ...] = (
    Cheat(name="always-equal object", prelude=_YES, answer="{name} = Yes(1)\n"),
    Cheat(
        name="always-equal result",
        prelude=_YES,
        answer="def {name}(*args, **kwargs):\n    return Yes(1)\n",
    ),
    Cheat(
        name="patched numpy.testing",
        prelude=dedent(f"""
            import numpy, numpy.testing, unittest
            for _name in dir(numpy.testing):
                if _name.startswith("assert"):
                    setattr(numpy.testing, _name, {_SILENT})
            for _name in ("allclose", "array_equal", "isclose", "all", "any"):
                setattr(numpy, _name, lambda *args, **kwargs: True)
            for _name in dir(unittest.TestCase):
                if _name.startswith("assert"):
                    setattr(unittest.TestCase, _name, {_SILENT})
        """),
    ),
    Cheat(
        name="patched builtins",
        prelude=dedent("""
            import builtins
            for _name in ("all", "any", "isinstance", "callable", "hasattr"):
                setattr(builtins, _name, lambda *args, **kwargs: True)
            builtins.abs = lambda *args, **kwargs: 0
        """),
        answer="def {name}(*args, **kwargs):\n    return 0\n",
    ),
    Cheat(
        name="asserts stripped from the tests",
        prelude=dedent("""
            import ast
            class _Strip(ast.NodeTransformer):
                def visit_Assert(self, node):
                    return ast.Pass()
            get_ipython().ast_transformers.append(_Strip())
        """),
    ),
    Cheat(
        name="tests replaced before they run",
        prelude="get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])\n",
    ),
    Cheat(
        name="errors silenced",
        prelude=dedent(f"""
            get_ipython().showtraceback = {_SILENT}
            get_ipython().set_custom_exc((BaseException,), {_SILENT})
        """),
    ),
    Cheat(name="-1 as partial credit", answer="def {name}(*args, **kwargs):\n    return -1\n"),
    Cheat(
        name="NaN as partial credit",
        answer="def {name}(*args, **kwargs):\n    return float('nan')\n",
    ),
    Cheat(name="tests tagged to be skipped", edit=_skip_tests),
    Cheat(name="tests doubled", edit=_double_tests),
    Cheat(name="tests emptied", edit=_empty_tests),
)


def cheating_answers(cheat: Cheat, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the source of each answer cell, by grade_id, given the names it has to define."""
    return {
        grade_id: cheat.prelude + "".join(cheat.answer.format(name=name) for name in defined)
        for grade_id, defined in names.items()
    }
