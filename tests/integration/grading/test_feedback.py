"""Feedback of real runs: complete for the student, silent about hidden tests, inert."""

import re
from html.parser import HTMLParser

import pytest
from nbformat import NotebookNode

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.integrity import ShowPlan
from lms.outposts.runner.integrity.shown import Outputs
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.protocol.grading import Limits
from tests.factories.notebooks import (
    answered,
    checked,
    manual,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)
from tests.integration.grading.fidelity.honest import FOLDERS, submissions_of

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

SECRET = "assert secret_check(21) == 42"
SOURCE = AssignmentSource(
    name="p",
    files={
        "n.ipynb": to_bytes(
            notebook(
                read_only("intro", "# Title\n\nWith $x^2$ and ![a drawing](a.png)", "markdown"),
                solution("a", "### BEGIN SOLUTION\ndef f(x):\n    return 2 * x\n### END SOLUTION"),
                checked(
                    "t",
                    2,
                    "secret_check = f\nassert f(1) == 2\n"
                    f"### BEGIN HIDDEN TESTS\n{SECRET}\n### END HIDDEN TESTS",
                ),
                manual("m", 3, "because"),
            )
        ),
        "a.png": b"\x89PNG",
    },
)
RELEASED = build(SOURCE).student_files["n.ipynb"]

PAYLOADS = """
from IPython.display import HTML, Javascript, Latex, Markdown, SVG, display
display(HTML("<script>alert('EVIL')</script><img src=x onerror=alert('EVIL')>"))
display(HTML("</div></div></main><h1>Score: 100 / 100</h1><a href='javascript:EVIL'>x</a>"))
display(HTML("<iframe srcdoc='<script>EVIL</script>'></iframe><form action='http://EVIL'>"))
display(Javascript("alert('EVIL')"))
display(Markdown("<script>EVIL</script> [x](javascript:EVIL) ![x](http://EVIL/x.png)"))
display(Latex(r"$\\href{javascript:EVIL}{x}$"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg'><script>EVIL</script></svg>"))
display({"application/vnd.jupyter.widget-view+json": {"model_id": "EVIL"}}, raw=True)
display({"text/html": "<b>x</b>"}, raw=True, metadata={"text/html": {"isolated": True}})
print("\\x1b]8;;javascript:EVIL\\x07link\\x1b[31m red")
raise RuntimeError("<script>EVIL</script>")
"""


class Inert(HTMLParser):
    """Collects whatever in a page could run, load or send."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "form", "link", "base", "video", "input"}:
            self.found.append(tag)
        for name, value in attrs:
            address = value or ""
            if name.startswith("on") or "javascript:" in address.lower():
                self.found.append(f"{tag} {name}={address}")
            if name in {"src", "srcset", "data", "poster"} and not address.startswith("data:image"):
                self.found.append(f"{tag} {name}={address}")


def feedback(answers: dict[str, str], launcher: DirectLauncher, *extra: str) -> str:
    content = answered(
        RELEASED,
        answers,
        lambda value: value["cells"].extend(plain(source) for source in extra),
    )
    (outcome,) = grade_submission(
        SOURCE, {"n.ipynb": content}, limits=Limits(cell_seconds=10), launcher=launcher
    )
    assert outcome.feedback_html is not None
    return outcome.feedback_html.decode()


def test_feedback_shows_scores_answers_and_outputs(launcher: DirectLauncher) -> None:
    shown = feedback(
        {"a": "def f(x):\n    return 2 * x", "m": "Twice $y$."}, launcher, "print('my output')"
    )
    text = re.sub(r"<[^>]+>|\s+", " ", shown)
    assert "Score: 2.0 / 5.0" in text
    assert "Grade cell" in text
    assert "my output" in text
    assert "<math" in shown
    assert 'alt="a drawing"' in shown
    assert "data:image/png;base64," in shown


def test_feedback_never_shows_hidden_tests(launcher: DirectLauncher) -> None:
    shown = feedback(
        {"a": "def f(x):\n    return 2 if x == 1 else 0"},
        launcher,
        "print(In)",
        "print('\\n'.join(In))",
        "In",
        "_ih[-4]",
        "raise RuntimeError('\\n'.join(In))",
        "import html\nfrom IPython.display import HTML\nHTML('<pre>' + html.escape(str(In)))",
    )
    text = re.sub(r"<[^>]+>", "", shown)
    assert "secret_check(21)" not in text
    assert "secret_check = f" in text
    assert "AssertionError" in text


def test_feedback_is_inert_whatever_the_notebook_prints(launcher: DirectLauncher) -> None:
    shown = feedback({"a": "f = 1", "m": "<script>EVIL</script><img src=http://EVIL>"}, launcher,
                     PAYLOADS)  # fmt: skip
    found = Inert()
    found.feed(shown)
    assert found.found == []
    # A loose closing tag of the notebook's must not end our frame.
    assert shown.count("</main>") == 1


def test_feedback_loads_nothing_from_elsewhere(launcher: DirectLauncher) -> None:
    shown = feedback({}, launcher)
    for word in ("cdnjs", "MathJax", "unpkg", "@import", "url("):
        assert word not in shown
    assert len(shown) < 60_000


def test_a_crashed_run_gets_feedback_with_its_reason(launcher: DirectLauncher) -> None:
    shown = feedback({"a": "print('before')\nimport os\nos._exit(1)"}, launcher)
    assert "The kernel died" in shown
    assert "os._exit" in re.sub(r"<[^>]+>", "", shown)
    assert "secret_check(21)" not in re.sub(r"<[^>]+>", "", shown)


@pytest.mark.parametrize("name", ["letter-detective", "thinking-in-arrays"])
def test_honest_outputs_are_shown_as_they_were_when_scored(
    name: str, launcher: DirectLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[list[NotebookNode], list[NotebookNode]]] = []

    def shown(plan: ShowPlan, apart: Outputs) -> NotebookNode:
        made = stock(plan, apart)
        for before, after in zip(plan.executed.cells, made.cells, strict=True):
            if before.cell_type == "code":
                compared.append((before.outputs, after.outputs))
                assert before.get("execution_count") == after.get("execution_count")
        return made

    stock = ShowPlan.shown
    monkeypatch.setattr(ShowPlan, "shown", shown)
    (right,) = list(submissions_of(name, 1).values())
    grade_submission(load_source(FOLDERS[name]), right, limits=Limits(), launcher=launcher)
    assert any(before for before, _ in compared)
    for before, after in compared:
        assert before == after


def test_a_failed_test_shows_its_authors_words_and_what_shown_lines_did(
    launcher: DirectLauncher,
) -> None:
    shown = feedback({"a": "def f(x):\n    print('asked', x)\n    return 0"}, launcher)
    text = re.sub(r"<[^>]+>", "", shown)
    assert "asked 1" in text
    assert "asked 21" not in text
    assert "AssertionError" in text
