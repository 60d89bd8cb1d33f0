"""The trusted side without any student's code: many runs at once, and many in a row."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner import autograde, feedback
from lms.outposts.runner.copies import copied
from lms.outposts.runner.fragments import clean, describe_pictures, squeeze
from lms.outposts.runner.grade import NotebookOutcome, grade_submission, prepared
from lms.outposts.runner.source import AssignmentSource
from lms.outposts.runner.template import Pieces
from lms.protocol.grading import Limits
from tests.factories.notebooks import (
    answered,
    checked,
    manual,
    notebook,
    plain,
    read_only,
    solution,
    task,
    to_bytes,
)

SOURCE = AssignmentSource(
    name="p",
    files={
        "n.ipynb": to_bytes(
            notebook(
                read_only("intro", "# Title\n\n$x^2$ and **bold**", "markdown"),
                solution("a", "### BEGIN SOLUTION\ndef f(x):\n    return 2 * x\n### END SOLUTION"),
                plain("f(1)"),
                checked("t", 2, "assert f(1) == 2"),
                checked("u", 1.5, "f(2) / 4"),
                manual("m", 3, "because"),
                task("k", 1, "Do it."),
            )
        )
    },
)
RELEASED = prepared(SOURCE).student_files["n.ipynb"]


class FakeExecute:
    """Writes under each cell what its answer's last line says, and runs nothing."""

    stopped = None

    def __init__(self, start: object) -> None:
        del start

    def __call__(self, nb: NotebookNode, resources: object) -> tuple[NotebookNode, object]:
        answer = next(cell.source for cell in nb.cells if "def f" in cell.source)
        for number, cell in enumerate(cell for cell in nb.cells if cell.cell_type == "code"):
            cell.execution_count = number + 1
            cell.outputs = [NotebookNode(output) for output in outputs_of(answer, number)]
        return nb, resources


def outputs_of(answer: str, number: int) -> list[dict[str, Any]]:
    if number == 2 and "wrong" in answer:
        trace = ["\x1b[31mAssertionError\x1b[0m", "  line 1"]
        return [
            {
                "output_type": "error",
                "ename": "AssertionError",
                "evalue": answer,
                "traceback": trace,
            }
        ]
    data: dict[str, Any] = {"text/plain": "0.5" if number == 3 else answer}
    if number == 1:
        data["text/html"] = (
            f"<table><tr><td>{answer}</td></tr></table><img src='x'><pre>\n a </pre>"
        )
    return [
        {"output_type": "stream", "name": "stdout", "text": f"{answer}\n"},
        {
            "output_type": "execute_result",
            "data": NotebookNode(data),
            "metadata": NotebookNode(),
            "execution_count": number,
        },
    ]


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograde, "NotebookExecute", FakeExecute)


def grade(number: int) -> NotebookOutcome:
    word = "wrong" if number % 3 == 0 else "right"
    answers = {"a": f"def f(x):\n    return {number}  # {word}", "m": f"because {number}"}
    files: Mapping[str, bytes] = {"n.ipynb": answered(RELEASED, answers)}
    nobody = cast("KernelLauncher", None)
    (outcome,) = grade_submission(SOURCE, files, limits=Limits(), launcher=nobody, verify=False)
    return outcome


def test_scores_are_nbgraders_and_stand_in_the_feedback() -> None:
    right, wrong = grade(1), grade(0)
    assert (right.result.score, right.result.max_score) == (2.5, 7.5)
    assert (wrong.result.score, wrong.result.max_score) == (0.5, 7.5)
    comments = {cell.grade_id: cell.comment for cell in right.result.cells}
    assert comments == {"t": None, "u": None, "m": None, "k": None}
    assert b"Score: 2.5 / 7.5" in (right.feedback_html or b"")


def test_runs_at_once_give_what_runs_in_a_row_give() -> None:
    expected = [grade(number) for number in range(24)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        found = list(pool.map(grade, range(24)))
    assert found == expected


def _resident_bytes() -> int:
    fields = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", fields)
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.slow
def test_memory_is_stable_over_ten_thousand_runs() -> None:
    for number in range(3_000):
        grade(number)
    before = _resident_bytes()
    for number in range(3_000, 10_000):
        grade(number)
    # What is kept of pages has its own bound, and is not full yet after the first runs.
    assert _resident_bytes() - before < 48 << 20


class StockExporter(HTMLExporter):
    """nbconvert's own way to the page, with the same filters: what ours has to look like."""

    def __init__(self, pieces: Pieces) -> None:
        from nbgrader.server_extensions import formgrader

        folder = Path(formgrader.__file__).parent
        config = Config()
        config.HTMLExporter.template_name = "feedback"
        config.HTMLExporter.extra_template_basedirs = [str(folder / "templates")]
        styles = folder / "static" / "node_modules" / "bootstrap" / "dist" / "css"
        config.HTMLExporter.extra_template_paths = [str(styles)]
        super().__init__(config=config)
        self._preprocessors = []
        self._pieces = pieces

    def default_filters(self) -> Any:  # noqa: ANN401 (nbconvert's signature)
        yield from super().default_filters()
        yield (
            "markdown2html",
            lambda source: self._pieces.tokens.fill(self._pieces.markdown(source)),
        )
        yield (
            "highlight_code",
            lambda source, **_: self._pieces.tokens.fill(self._pieces.code(source)),
        )


def test_the_page_is_what_nbconvert_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stock: list[str] = []
    ours = feedback._around

    def around(nb: NotebookNode, told: Mapping[str, Any]) -> list[str]:
        filled = copied(nb)
        pieces = Pieces(files={}, release="stock")
        for number, cell in enumerate(filled.cells):
            feedback._prepare(cell)
            cell.id = f"cell-{number}"
            feedback._put_pieces(cell, pieces)
            for output in cell.get("outputs", ()):
                if "text/html" in output.get("data", {}):
                    output.data["text/html"] = pieces.tokens.fill(output.data["text/html"])
        page, _ = StockExporter(pieces).from_notebook_node(filled, {"nbgrader": dict(told)})
        body = re.search(r"<body[^>]*>(.*)</body>", page, re.DOTALL)
        assert body is not None
        stock.append(squeeze(clean(describe_pictures(body[1]), framing=True)))
        return ours(nb, told)

    monkeypatch.setattr(feedback, "_around", around)
    # The second time every cell comes out of the store.
    found = [(grade(number).feedback_html or b"").decode() for number in (0, 1, 0, 1)]
    assert len(stock) == 4
    for page, theirs in zip(found, stock, strict=True):
        expected = theirs.replace("<h4>", "<h1>", 1).replace("</h4>", "</h1>", 1)
        main = re.search(r"<main>(.*)</main>", page, re.DOTALL)
        assert main is not None
        shown = re.sub(r'<p class="reason">.*?</p>', "", main[1])
        assert re.sub(r"\s+", " ", shown).strip() == re.sub(r"\s+", " ", expected).strip()
    assert "No description has been provided for this image" in found[1]


@pytest.mark.parametrize("piece", ["<img ", "<img>", "<pre>", "<pre", "</pre>", "> ", "<img alt="])
def test_pages_of_endless_repetition_take_no_time(piece: str) -> None:
    # Were one of the patterns quadratic, this would take hours.
    markup = piece * 200_000
    assert squeeze(describe_pictures(markup))


def test_a_word_for_a_picture_opens_no_way_out_of_an_attribute() -> None:
    hostile = "<p title='<img><script>alert(1)</script>'>x</p>"
    for markup in (hostile, clean(hostile)):
        shown = clean(describe_pictures(markup), framing=True)
        assert "<script" not in shown
