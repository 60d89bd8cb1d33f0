"""What feedback may show of a notebook that ran beside hidden tests."""

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lms.outposts.runner.integrity.shown import plan_shown

ERROR = "error"


def _test(source: str, outputs: list[NotebookNode]) -> NotebookNode:
    marks = {"grade": True, "solution": False, "grade_id": "t", "points": 2, "locked": True}
    made: NotebookNode = new_code_cell(source, metadata={"nbgrader": marks}, outputs=outputs)
    return made


def _error(name: str, text: str) -> NotebookNode:
    made: NotebookNode = new_output(ERROR, ename=name, evalue=text, traceback=["secret", text])
    return made


def _shown(test: str, outputs: list[NotebookNode], score: float = 0.0) -> list[NotebookNode]:
    """The outputs that are shown of a test that was run with a hidden line after `pass`."""
    executed = new_notebook(cells=[_test(test, outputs)])
    merged = new_notebook(cells=[_test("pass", [])])
    plan = plan_shown(merged, executed, {"t": score})
    outputs = plan.shown({0: []}).cells[0].outputs
    return list(outputs)


@pytest.mark.parametrize(
    ("test", "said", "shown"),
    [
        ("assert f(3) == 9, 'not squared'", "not squared", "not squared"),
        ("assert f(3) == 9, f'f(3) is {f(3)}, not 9'", "f(3) is zq, not 9", "f(3) is …, not 9"),
        ("assert_equal(f(3), 9, err_msg='not squared')", "\nnot squared\n x: zq", "not squared"),
        ("assert f(3) == 9, 'not squared'", "zq not squared", ""),
        ("assert f(3) == 9", "zq", ""),
        ("assert f(3) == 9, f'{f(3)}'", "zq", ""),
    ],
)
def test_of_a_hidden_error_only_the_authors_words_are_shown(
    test: str, said: str, shown: str
) -> None:
    (output,) = _shown(test, [_error("AssertionError", said)])
    assert (output.ename, output.evalue) == ("AssertionError", shown)
    assert "zq" not in str(output)
    assert "secret" not in str(output)


def test_an_error_of_an_unknown_kind_is_not_named() -> None:
    (output,) = _shown("f()", [_error("E5f4a", "x")])
    assert (output.ename, output.evalue) == ("Exception", "")


def test_a_share_is_shown_as_the_score_however_it_was_spelled() -> None:
    value = new_output("execute_result", {"text/plain": "1.50000000"}, execution_count=3)
    (output,) = _shown("share", [value], score=1.5)
    assert output.data["text/plain"] == "1.5"


def test_standard_error_of_hidden_lines_is_told_and_not_shown() -> None:
    (output,) = _shown("f()", [new_output("stream", name="stderr", text="zq")])
    assert (output.name, output.text) == ("stderr", "[hidden]\n")


def test_a_notebook_without_hidden_tests_is_shown_as_it_ran() -> None:
    cell = _test("assert f()", [_error("AssertionError", "anything")])
    notebook = new_notebook(cells=[cell])
    plan = plan_shown(notebook, notebook, {"t": 0.0})
    assert plan.shown({}) is notebook
    assert not plan.wanted
