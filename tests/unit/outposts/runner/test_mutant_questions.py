"""Which answers a test judges, what may be tried together, and what leaks through which cover."""

import base64
import codecs
import gzip
import io
import json
import zipfile
import zlib

import pytest

from lms.outposts.runner.notebooks import read_source
from lms.outposts.runner.redteam.leaks import find_leaks
from lms.outposts.runner.redteam.questions import independent, judged_by, questions_of
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from tests.factories.notebooks import checked, manual, notebook, plain, solution, to_bytes

HIDDEN = "assert total([20, 22]) == 42.31337"


def judged(*cells: dict[str, object]) -> dict[str, list[str]]:
    node, _ = read_source("n", to_bytes(notebook(*cells)))
    return {test.grade_id: [a.grade_id for a in answers] for test, answers in judged_by(node)}


def test_a_test_judges_the_answers_since_the_last_test_that_it_uses() -> None:
    assert judged(
        solution("a", "def f():\n    return 1"),
        checked("t1", 1, "assert f() == 1"),
        checked("t2", 1, "assert f() != 2"),
        solution("helper", "def h():\n    return 2"),
        solution("b", "class G:\n    pass"),
        solution("c", "value = 3"),
        checked("t3", 1, "assert G() and value == f()"),
        manual("text", 1, "why?"),
        checked("t4", 1, "assert f()"),
    ) == {"t1": ["a"], "t2": ["a"], "t3": ["b", "c"], "t4": ["a"]}


def test_a_test_that_uses_no_answer_judges_the_nearest_above() -> None:
    assert judged(checked("t0", 1, "pass"), solution("a", "f = 1"), checked("t", 1, "1")) == {
        "t0": [],
        "t": ["a"],
    }


def test_questions_that_lean_on_one_another_are_not_tried_together() -> None:
    node, _ = read_source(
        "n",
        to_bytes(
            notebook(
                solution("a", "def f():\n    return 1"),
                checked("ta", 1, "assert f() == 1"),
                solution("b", "def g():\n    return f() + 1"),
                checked("tb", 1, "assert g() == 2"),
                solution("c", "def h():\n    return 3"),
                checked("tc", 1, "assert h() == 3"),
                solution("d", "def k():\n    return 4"),
                checked("td", 1, "assert k() == g() + 2"),
            )
        ),
    )
    groups = independent(questions_of(node))
    assert [[q.answers[0].grade_id for q in group] for group in groups] == [
        ["a", "c"],
        ["b"],
        ["d"],
    ]


def source(cells: list[dict[str, object]] | None = None, **files: bytes) -> AssignmentSource:
    made = notebook(
        solution(
            "f",
            "def total(xs):\n    ### BEGIN SOLUTION\n    weights = [1 for _ in xs]\n"
            "    summed = sum(w * x for w, x in zip(weights, xs))\n"
            "    return float(summed) * 1.00746\n    ### END SOLUTION",
        ),
        checked(
            "t",
            1,
            f"assert total([]) == 0\n### BEGIN HIDDEN TESTS\n{HIDDEN}\n### END HIDDEN TESTS",
        ),
        *(cells or []),
    )
    named = {name.replace("__", "."): content for name, content in files.items()}
    return AssignmentSource(name="a", files={"n.ipynb": to_bytes(made), **named})


def leaks(given: AssignmentSource) -> list[tuple[str, str, str]]:
    return [(p.severity, p.where, str(p.message)) for p in find_leaks(given, build(given))]


def test_a_clean_release_leaks_nothing() -> None:
    assert leaks(source(data__csv=b"1,2\n3,4\n", note__txt=b"sum of xs\n")) == []


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", content)
    return file.getvalue()


COVERS = {
    "base64": base64.b64encode(HIDDEN.encode()),
    "base64, zlib": base64.b64encode(zlib.compress(HIDDEN.encode())),
    "base64, base64": base64.b64encode(base64.b64encode(HIDDEN.encode())),
    "hex": b"key = '" + HIDDEN.encode().hex().encode() + b"'",
    "reversed": HIDDEN[::-1].encode(),
    "rot13": codecs.encode(HIDDEN, "rot13").encode(),
    "zlib": zlib.compress(HIDDEN.encode()),
    "gzip": gzip.compress(HIDDEN.encode()),
    "zip": _zip(HIDDEN.encode()),
    "broken over lines": base64.encodebytes(HIDDEN.encode() * 4),
}


@pytest.mark.parametrize("cover", COVERS)
def test_a_hidden_test_is_found_under_its_cover(cover: str) -> None:
    found = leaks(source(helper__dat=COVERS[cover]))
    severity, where, said = next(f for f in found if f[0] == "error")
    assert (severity, where.split(",")[0]) == ("error", "helper.dat")
    assert said.startswith("Students can read a hidden test here, as ")


def test_a_hidden_test_in_a_file_or_in_a_notebooks_metadata_is_found() -> None:
    assert leaks(source(helper__py=f"    {HIDDEN}\n".encode()))[0] == (
        "error",
        "helper.py",
        "Students can read a hidden test here.",
    )
    tagged = plain("1", note=HIDDEN)
    assert ("error", "n.ipynb, cell 3, metadata", "Students can read a hidden test here.") in leaks(
        source([tagged])
    )


def test_a_solution_in_an_attachment_is_found() -> None:
    lines = "weights = [1 for _ in xs]\nsummed = sum(w * x for w, x in zip(weights, xs))\n"
    pictured = plain("![](a.png)", "markdown")
    pictured["attachments"] = {"a.png": {"image/png": base64.b64encode(lines.encode()).decode()}}
    (found,) = leaks(source([pictured]))
    assert found == (
        "error",
        "n.ipynb, cell 3, attachments",
        "Students can read lines of a solution here, as base64.",
    )


def test_one_line_of_a_solution_in_plain_prose_is_a_hint_and_three_are_a_solution() -> None:
    lines = [
        "weights = [1 for _ in xs]",
        "summed = sum(w * x for w, x in zip(weights, xs))",
        "return float(summed) * 1.00746",
    ]
    assert leaks(source(hint__md=lines[1].encode())) == []
    (found,) = leaks(source(hint__md="\n".join(lines).encode()))
    assert found == ("error", "hint.md", "Students can read lines of a solution here.")


def test_a_value_that_only_hidden_tests_know_is_found_in_data() -> None:
    (found,) = leaks(source(answers__csv=b"id,value\n1,42.31337\n"))
    assert found == (
        "warning",
        "answers.csv",
        "Students can read 42.31337 here, a value that only hidden tests know.",
    )
    assert leaks(source(answers__csv=b"1,42.313371\n2,142.31337\n3,42.31337.5\n")) == []
    as_json = json.dumps({"deep": [{"value": 42.31337}]}).encode()
    assert len(leaks(source(answers__json=as_json))) == 1


def test_bombs_are_read_only_so_far() -> None:
    bomb = zlib.compress(b"0" * (200 << 20), 9)
    assert leaks(source(data__bin=bomb, broken__zip=b"PK\x03\x04garbage")) == []
