"""Building a release: deterministic, without solutions and hidden tests, with its settings."""

import json
from pathlib import Path

import pytest

from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.release import build, build_release
from lms.outposts.runner.source import (
    CONFIG_FILE,
    AssignmentSource,
    load_source,
    read_settings,
    settings_of,
)
from tests.factories.notebooks import (
    checked,
    manual,
    notebook,
    plain,
    solution,
    task,
    to_bytes,
)

NOTEBOOK = to_bytes(
    notebook(
        solution("a", "### BEGIN SOLUTION\nx = 'solved'\n### END SOLUTION"),
        checked("t", 2, "x\n### BEGIN HIDDEN TESTS\n'hidden'\n### END HIDDEN TESTS"),
        manual("m", 3, "because"),
        manual("mc", 1, "code", "code"),
        task("k", 4, "do\n### BEGIN MARK SCHEME\nsecret\n### END MARK SCHEME"),
        kernel={"name": "rt_grader", "display_name": "x"},
    )
)


def source(**files: bytes) -> AssignmentSource:
    return AssignmentSource(name="ps1", files={"n.ipynb": NOTEBOOK, **files})


def make_course(root: Path, config: str = "") -> Path:
    folder = root / "source" / "ps1"
    folder.mkdir(parents=True)
    (folder / "n.ipynb").write_bytes(NOTEBOOK)
    (root / "nbgrader_config.py").write_text(config)
    (root / "source" / "header.ipynb").write_bytes(to_bytes(notebook(plain("HEADER = 1"))))
    return folder


def test_the_same_source_gives_the_same_bytes() -> None:
    assert build(source()).student_files == build(source()).student_files


def test_a_release_holds_no_solution_hidden_test_or_marking_scheme() -> None:
    released = build(source()).student_files["n.ipynb"].decode()
    for word in ("solved", "hidden", "secret", "because"):
        assert word not in released
    assert "YOUR CODE HERE" in released


def test_points_and_cells_are_counted() -> None:
    (facts,) = build(source()).notebooks
    assert (facts.cells, facts.points, facts.manual_points) == (4, 10, 8)
    assert (facts.kernel, facts.schema_version) == ("rt_grader", 3)


def test_a_release_asks_for_the_kernel_there_is() -> None:
    released = json.loads(build(source()).student_files["n.ipynb"])
    assert released["metadata"]["kernelspec"]["name"] == "python3"


def test_data_files_go_to_students_and_settings_and_nested_notebooks_do_not() -> None:
    files = {"d/x.csv": b"1", "d/n.ipynb": b"2", CONFIG_FILE: b"{}"}
    release = build(AssignmentSource(name="ps1", files={"n.ipynb": NOTEBOOK, **files}))
    assert sorted(release.student_files) == ["d/x.csv", "n.ipynb"]
    assert release.data_files == {"d/x.csv": b"1"}
    assert sorted(release.instructor_files) == ["d/n.ipynb", "d/x.csv", "n.ipynb", CONFIG_FILE]


def test_a_header_is_joined_in_and_a_release_can_be_built_again(tmp_path: Path) -> None:
    config = 'c = get_config()\nc.IncludeHeaderFooter.header = "source/header.ipynb"\n'
    first = build_release(make_course(tmp_path, config))
    assert b"HEADER = 1" in first.student_files["n.ipynb"]
    again = build(AssignmentSource(name="ps1", files=first.instructor_files))
    assert again.student_files == first.student_files


def test_literal_settings_of_the_course_travel_with_it(tmp_path: Path) -> None:
    config = (
        "c = get_config()\nimport os\nc.ClearSolutions.code_stub = {'python': '# 여기'}\n"
        "c.Exchange.root = '/srv'\nc.ClearSolutions.text_stub = os.getcwd()\n"
    )
    loaded = load_source(make_course(tmp_path, config))
    assert settings_of(loaded.files) == {"ClearSolutions": {"code_stub": {"python": "# 여기"}}}
    assert "# 여기" in build(loaded).student_files["n.ipynb"].decode()


@pytest.mark.parametrize(
    "config", ["c = (", "\0", "c.a.b = c\nx.y.z = 1\nc.d = 2\nraise SystemExit"]
)
def test_a_config_is_never_run(tmp_path: Path, config: str) -> None:
    assert not read_settings(make_course(tmp_path, config))


def test_a_header_outside_the_course_is_refused(tmp_path: Path) -> None:
    folder = make_course(tmp_path, 'c.IncludeHeaderFooter.header = "../../etc/passwd"')
    with pytest.raises(ReleaseError, match="header or footer"):
        load_source(folder)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"n.ipynb": b"nothing"}, "n: This file is not a Jupyter notebook"),
        ({"x.csv": b""}, "holds no notebook"),
        ({"n.ipynb": to_bytes(notebook(plain("### BEGIN SOLUTION")))}, "no end solution"),
        (
            {"n.ipynb": NOTEBOOK.replace(b'"display_name": "x"', b'"language": "R"')},
            "notebooks in R",
        ),
    ],
)
def test_a_source_that_cannot_be_released_is_said(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        build(AssignmentSource(name="ps1", files=files))
