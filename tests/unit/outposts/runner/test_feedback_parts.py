"""Feedback's parts: what is hidden, and what HTML may hold."""

import html

import pytest
from nbformat import NotebookNode

from lms.outposts.runner.feedback import page
from lms.outposts.runner.fragments import clean, formula, formulas_of, picture
from lms.outposts.runner.hidden import conceal
from lms.outposts.runner.notebooks import read_source
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Integrity, NotebookResult, RunStatus
from lms.protocol.sentences import sentence
from tests.factories.notebooks import checked, notebook, plain, solution, to_bytes

HIDDEN = 'assert f(21) == "forty-two"'
SOURCE = to_bytes(
    notebook(
        solution("a", "### BEGIN SOLUTION\nf = str\n### END SOLUTION"),
        checked("t", 1, f"f(1)\n### BEGIN HIDDEN TESTS\n{HIDDEN}\n### END HIDDEN TESTS"),
        plain("print(In)"),
    )
)


def graded(*outputs: dict[str, object], cell: int = 1) -> tuple[NotebookNode, NotebookNode]:
    """A notebook as it stands after grading, hidden tests and all, and the released one."""
    released = build(AssignmentSource(name="p", files={"n.ipynb": SOURCE})).released["n"]
    full, _ = read_source("n", SOURCE)
    full.cells[cell].outputs = [NotebookNode(output) for output in outputs]
    return full, released


def error(*traceback: str, evalue: str = "no") -> dict[str, object]:
    return {
        "output_type": "error",
        "ename": "AssertionError",
        "evalue": evalue,
        "traceback": list(traceback),
    }


def test_hidden_source_goes_back_to_the_release() -> None:
    full, released = graded()
    conceal(full, released)
    assert full.cells[1].source == "f(1)"
    assert HIDDEN not in str(full)


def test_the_traceback_of_a_cell_with_hidden_tests_is_its_last_line() -> None:
    full, released = graded(error("line 1", f"----> 3 {HIDDEN}"))
    conceal(full, released)
    assert full.cells[1].outputs[0].traceback == ["AssertionError: no"]


@pytest.mark.parametrize(
    "quoted", [HIDDEN, repr([HIDDEN]), html.escape(HIDDEN), f"\x1b[1m{HIDDEN}"]
)
@pytest.mark.parametrize("kind", ["stream", "display_data", "error"])
def test_hidden_lines_are_struck_out_of_any_output(kind: str, quoted: str) -> None:
    outputs: dict[str, dict[str, object]] = {
        "stream": {"output_type": "stream", "name": "stdout", "text": quoted},
        "display_data": {"output_type": kind, "data": {"text/html": quoted}, "metadata": {}},
        "error": error("Traceback", quoted, evalue=quoted),
    }
    full, released = graded(outputs[kind], cell=2)
    conceal(full, released)
    assert "forty" not in str(full.cells[2])
    assert "[hidden]" in str(full.cells[2])


def test_colours_stay_where_nothing_is_hidden() -> None:
    full, released = graded(error("\x1b[31mred\x1b[0m", "plain"), cell=2)
    conceal(full, released)
    assert full.cells[2].outputs[0].traceback == ["\x1b[31mred\x1b[0m", "plain"]


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<iframe src='javascript:alert(1)'></iframe>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href=' jAvAsCrIpT:alert(1)'>x</a>",
        "<a href='data:text/html,alert(1)'>x</a>",
        "<form action=x><input autofocus onfocus=alert(1)></form>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<style>@import url(https://evil)</style>",
        "<link rel=stylesheet href=https://evil>",
        "<meta http-equiv=refresh content='0;url=https://evil'>",
        "<base href=https://evil>",
        "<object data=x></object><embed src=x>",
        "<details open ontoggle=alert(1)>",
        "<img src='https://evil/x.png'>",
        "<video src=https://evil></video>",
        "<span style='background:url(https://evil)'>x</span>",
        "<div style='position:fixed;inset:0'>x</div>",
    ],
)
@pytest.mark.parametrize("framing", [False, True])
def test_nothing_that_runs_or_loads_survives(markup: str, *, framing: bool) -> None:
    cleaned = clean(markup, framing=framing).lower()
    for word in ("script", "alert", "evil", "onerror", "onload", "position", "<iframe", "<form"):
        assert word not in cleaned


def test_a_notebooks_own_markup_cannot_close_or_imitate_the_frame() -> None:
    assert clean("</div></div><div class='panel'><h1 id='toc'>x") == (
        '<div class=""><h1>x</h1></div>'
    )


def test_pictures_inside_the_page_stay() -> None:
    assert "data:image/png;base64,AAAA" in clean("<img src='data:image/png;base64,AAAA'>")
    assert picture({"a b.png": b"x"}, "a%20b.png") == "data:image/png;base64,eA=="
    assert picture({"a.exe": b"x"}, "a.exe") == ""
    assert picture({}, "../secret.png") == ""
    assert picture({"large.png": b"x" * (3 << 20)}, "large.png") == ""


def test_formulas_become_mathml() -> None:
    assert formula("x^2", block=False).startswith('<math display="inline"')
    assert 'display="block"' in formulas_of("$$\\frac{1}{2}$$")
    assert 'display="block"' in formulas_of("\\[x\\]")
    assert "<code>" in formula("\\frac", block=False) or "<math" in formula("\\frac", block=False)


@pytest.mark.parametrize(
    "latex", ["\\text{<script>alert(1)</script>}", "\\href{javascript:alert(1)}{x}", "{" * 5000]
)
def test_a_hostile_formula_stays_text(latex: str) -> None:
    shown = formula(latex, block=True)
    assert "<script" not in shown
    assert "href=" not in shown


def test_a_notebook_that_did_not_run_gets_a_page_with_its_reason() -> None:
    result = NotebookResult(
        notebook="<n>",
        status=RunStatus.REJECTED,
        integrity=Integrity.UNVERIFIED,
        score=0,
        max_score=3,
        reason=sentence("This is <b>it</b>."),
    )
    shown = page(result).decode()
    assert "rejected" in shown
    assert "This is &lt;b&gt;it" in shown
    assert "<title>&lt;n&gt;</title>" in shown
    assert "<script" not in shown
