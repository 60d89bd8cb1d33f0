"""A correction changes what the release changed and nothing of the student's."""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lms.outposts.notebook.cells import grade_id_of, text_of
from lms.outposts.notebook.patch import Change, Conflict, Patched, patch_notebook
from tests.factories.notebooks import (
    Cell,
    Notebook,
    checked,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)


def with_id(cell: Cell, name: str) -> Cell:
    return {**cell, "id": name}


def release(*cells: Cell) -> Notebook:
    """A release whose cells keep the ids that they were given."""
    value = notebook()
    value["cells"] = [
        cell if "id" in cell else with_id(cell, f"c-{grade_id_of(cell) or number}")
        for number, cell in enumerate(copy.deepcopy(list(cells)))
    ]
    return value


OLD = release(
    with_id(plain("# Mean\nAdd up and divide.", "markdown"), "intro"),
    read_only("setup", "import math"),
    solution("a", "def mean(xs):\n    raise NotImplementedError()"),
    checked("t", 2, "assert mean([1]) == 2"),
    with_id(plain("Try it here:", "markdown"), "try"),
    with_id(plain("mean([1, 2])"), "example"),
    checked("gone", 1, "assert True"),
)


def student() -> Notebook:
    """A copy with an answer, own cells, outputs and an edited example."""
    value = copy.deepcopy(OLD)
    cells = value["cells"]
    cells[2]["source"] = "def mean(xs):\n    return sum(xs) / len(xs)"
    cells[3]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hm"}]
    cells[3]["execution_count"] = 7
    cells[5]["source"] = "mean([5])"
    cells.insert(3, with_id(plain("mine = 1"), "own-1"))
    cells.insert(5, with_id(plain("After the test.", "markdown"), "own-2"))
    cells.append(with_id(plain("scratch"), "own-3"))
    return value


def corrected(change: Any) -> Notebook:  # noqa: ANN401 (any function of a notebook)
    value = copy.deepcopy(OLD)
    change(value["cells"])
    return value


def patch(new: Notebook, mine: Notebook) -> tuple[Notebook, Patched]:
    patched = patch_notebook(to_bytes(OLD), to_bytes(new), to_bytes(mine))
    again = patch_notebook(to_bytes(OLD), to_bytes(new), patched.content)
    assert again.content == patched.content
    assert again.changes == ()
    value: Notebook = json.loads(patched.content)
    return value, patched


def test_a_corrected_test_is_exchanged_with_its_points_and_the_rest_stays() -> None:
    def change(cells: list[Cell]) -> None:
        cells[3]["source"] = "assert mean([1]) == 1"
        cells[3]["metadata"]["nbgrader"]["points"] = 5

    mine = student()
    value, patched = patch(corrected(change), mine)
    assert patched.changes == (Change("changed", "t"),)
    assert patched.conflicts == ()
    place = 4
    made = value["cells"][place]
    assert made["source"] == "assert mean([1]) == 1"
    assert made["metadata"]["nbgrader"]["points"] == 5
    # What the student saw when it ran last is the student's.
    assert (made["outputs"], made["execution_count"]) == (mine["cells"][4]["outputs"], 7)
    assert [c for i, c in enumerate(value["cells"]) if i != place] == [
        c for i, c in enumerate(mine["cells"]) if i != place
    ]


def test_new_cells_come_before_the_next_released_cell_and_behind_own_cells() -> None:
    def change(cells: list[Cell]) -> None:
        cells.insert(3, with_id(read_only("hint", "Mind the empty list.", "markdown"), "hint"))
        cells.append(with_id(plain("The end.", "markdown"), "end"))

    value, patched = patch(corrected(change), student())
    assert patched.changes == (Change("added", "hint"), Change("added", "The end."))
    ids = [cell["id"] for cell in value["cells"]]
    assert ids[2:6] == ["c-a", "own-1", "hint", "c-t"]
    assert ids[-2:] == ["own-3", "end"]


def test_removed_cells_go_and_an_answer_that_is_no_longer_asked_for_stays() -> None:
    def change(cells: list[Cell]) -> None:
        del cells[6], cells[4], cells[2]

    mine = student()
    value, patched = patch(corrected(change), mine)
    assert set(patched.changes) == {Change("removed", "gone"), Change("removed", "Try it here:")}
    assert patched.conflicts == (Conflict("answer left over", "a"),)
    ids = [cell["id"] for cell in value["cells"]]
    assert ids == ["intro", "c-setup", "c-a", "own-1", "c-t", "own-2", "example", "own-3"]
    untouched = copy.deepcopy(OLD)
    value, patched = patch(corrected(change), untouched)
    assert Change("removed", "a") in patched.changes


def test_prose_is_corrected_where_it_is_as_released() -> None:
    def change(cells: list[Cell]) -> None:
        cells[0]["source"] = "# Mean\nAdd up, then divide."
        cells[5]["source"] = "mean([1, 2, 3])"

    value, patched = patch(corrected(change), student())
    assert value["cells"][0]["source"] == "# Mean\nAdd up, then divide."
    assert patched.changes == (Change("changed", "Mean Add up, then divide."),)
    # The student edited the example.
    assert patched.conflicts == (Conflict("text kept", "mean([1, 2])"),)
    assert "mean([5])" in [cell["source"] for cell in value["cells"]]


def test_a_text_that_the_student_took_out_stays_out_and_a_changed_test_comes_back() -> None:
    def change(cells: list[Cell]) -> None:
        cells[0]["source"] = "# Other"
        cells[3]["source"] = "assert mean([1]) == 1"

    mine = student()
    mine["cells"] = [c for c in mine["cells"] if c["id"] not in {"intro", "c-t"}]
    value, patched = patch(corrected(change), mine)
    assert patched.changes == (Change("added", "t"),)
    assert [c["id"] for c in value["cells"]][:5] == ["c-setup", "c-a", "own-1", "own-2", "c-t"]


def test_a_stub_is_corrected_where_nothing_was_answered_and_else_named() -> None:
    def change(cells: list[Cell]) -> None:
        cells[2]["source"] = "def mean(xs, weights):\n    raise NotImplementedError()"

    value, patched = patch(corrected(change), student())
    assert value == student()
    assert patched.conflicts == (Conflict("answer kept", "a"),)
    ran = copy.deepcopy(OLD)
    ran["cells"][2]["outputs"] = [{"output_type": "error"}]
    value, patched = patch(corrected(change), ran)
    assert value["cells"][2]["source"].startswith("def mean(xs, weights)")
    assert value["cells"][2]["outputs"] == [{"output_type": "error"}]
    assert patched.conflicts == ()


def test_of_cells_with_one_grade_id_the_last_is_corrected_as_it_is_the_one_graded() -> None:
    def change(cells: list[Cell]) -> None:
        cells[3]["source"] = "assert mean([1]) == 1"

    mine = student()
    mine["cells"].append({**mine["cells"][4], "id": "pasted"})
    value, _ = patch(corrected(change), mine)
    sources = [c["source"] for c in value["cells"] if grade_id_of(c) == "t"]
    assert sources == ["assert mean([1]) == 2", "assert mean([1]) == 1"]


def test_what_jupyter_adds_to_a_cell_stays_and_sources_keep_their_form() -> None:
    def change(cells: list[Cell]) -> None:
        cells[3]["source"] = "assert mean([1]) == 1\nassert mean([3]) == 3"
        cells.insert(0, with_id(plain("New.\nText.", "markdown"), "new"))

    mine = student()
    for cell in mine["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    mine["cells"][4]["metadata"]["collapsed"] = True
    value, _ = patch(corrected(change), mine)
    assert value["cells"][5]["source"] == ["assert mean([1]) == 1\n", "assert mean([3]) == 3"]
    assert value["cells"][5]["metadata"]["collapsed"] is True
    assert value["cells"][0]["source"] == ["New.\n", "Text."]


def test_a_copy_without_cell_ids_is_corrected_by_content() -> None:
    def change(cells: list[Cell]) -> None:
        cells[0]["source"] = "# Corrected"
        del cells[4]
        cells.insert(3, read_only("hint", "Hint"))

    mine = student()
    mine["nbformat_minor"] = 4
    for cell in mine["cells"]:
        del cell["id"]
    value, patched = patch(corrected(change), mine)
    assert value["cells"][0]["source"] == "# Corrected"
    assert Change("added", "hint") in patched.changes
    assert all("id" not in cell for cell in value["cells"])


def test_metadata_of_the_notebook_follows_where_it_is_as_released() -> None:
    new = copy.deepcopy(OLD)
    new["metadata"] = {"kernelspec": {"name": "python3"}, "title": "New"}
    mine = student()
    mine["metadata"]["language_info"] = {"name": "python"}
    value, patched = patch(new, mine)
    assert value["metadata"] == {**new["metadata"], "language_info": {"name": "python"}}
    assert patched.changes == ()


def test_another_kernel_follows_whatever_title_jupyter_gave_the_old_one() -> None:
    old, new, mine = copy.deepcopy(OLD), copy.deepcopy(OLD), student()
    for node, name in ((old, "seodang-1"), (mine, "seodang-1"), (new, "seodang-2")):
        node["metadata"] = {"kernelspec": {"name": name, "display_name": "Python 3 (course)"}}
    mine["metadata"]["kernelspec"]["display_name"] = "Python 3 (tiny 1)"
    patched = patch_notebook(to_bytes(old), to_bytes(new), to_bytes(mine))
    assert json.loads(patched.content)["metadata"] == new["metadata"]
    mine["metadata"]["kernelspec"]["name"] = "my-own"
    patched = patch_notebook(to_bytes(old), to_bytes(new), to_bytes(mine))
    assert json.loads(patched.content)["metadata"]["kernelspec"]["name"] == "my-own"


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"nbformat": 3, "cells": []}', b"\xff"])
def test_what_is_no_notebook_stays_as_it_is(content: bytes) -> None:
    patched = patch_notebook(to_bytes(OLD), to_bytes(corrected(lambda c: c.pop())), content)
    assert patched == (content, (), (Conflict("unreadable", ""),))


# --- whatever the releases and the student do ---

TEXTS = st.sampled_from(["", "x = 1", "# One", "# Two", "print(2)", "assert f() == 1", "pass"])


@st.composite
def releases(draw: st.DrawFn) -> tuple[Notebook, Notebook]:
    """Two releases: the second has cells changed, added and taken out, in the same order."""
    kinds = draw(st.lists(st.sampled_from(["plain", "text", "test", "answer"]), max_size=7))
    old, new = [], []
    for number, kind in enumerate(kinds):
        cell = with_id(_cell(kind, number, draw(TEXTS)), f"id-{number}")
        fate = draw(st.sampled_from(["same", "same", "change", "drop", "add"]))
        if fate != "add":
            old.append(cell)
        if fate == "change":
            changed = _cell(kind, number, draw(TEXTS))
            new.append(with_id(changed, f"id-{number}"))
        elif fate != "drop":
            new.append(cell)
    return release(*old), release(*new)


def _cell(kind: str, number: int, text: str) -> Cell:
    if kind == "test":
        return checked(f"g{number}", len(text), text)
    if kind == "answer":
        return solution(f"g{number}", text)
    return plain(text, "markdown" if kind == "text" else "code")


@given(releases())
@settings(max_examples=50, deadline=None)
def test_an_untouched_copy_becomes_the_new_release(both: tuple[Notebook, Notebook]) -> None:
    old, new = map(to_bytes, both)
    assert json.loads(patch_notebook(old, new, old).content) == both[1]


@given(releases(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_copy_that_was_only_run_becomes_the_new_release_with_its_outputs(
    both: tuple[Notebook, Notebook], data: st.DataObject
) -> None:
    old, new = both
    mine = copy.deepcopy(old)
    outputs = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    ran = {
        cell["id"]
        for cell in mine["cells"]
        if cell["cell_type"] == "code" and data.draw(st.booleans())
    }
    for cell in mine["cells"]:
        if cell["id"] in ran:
            cell["outputs"] = outputs
    assume(ran)
    value = json.loads(patch_notebook(to_bytes(old), to_bytes(new), to_bytes(mine)).content)
    for cell in value["cells"]:
        if cell.get("outputs"):
            assert cell["outputs"] == outputs
            cell["outputs"] = []
    # Where two releases have the same text under two ids, the copy's own id is as good.
    assert [c | {"id": ""} for c in value["cells"]] == [c | {"id": ""} for c in new["cells"]]


@given(releases(), st.data())
@settings(max_examples=100, deadline=None)
def test_nothing_of_the_students_changes_and_twice_is_once(
    both: tuple[Notebook, Notebook], data: st.DataObject
) -> None:
    old, new = both
    mine = copy.deepcopy(old)
    answers: dict[str, str] = {}
    for cell in mine["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution") and data.draw(st.booleans()):
            cell["source"] = answers[cell["id"]] = "answered = " + text_of(cell)
    for number in range(data.draw(st.integers(0, 4))):
        own = with_id(plain(data.draw(TEXTS), outputs_of=number), f"own-{number}")
        mine["cells"].insert(data.draw(st.integers(0, len(mine["cells"]))), own)
    before = [json.dumps(c, sort_keys=True) for c in mine["cells"] if _is_theirs(c, answers)]
    patched = patch_notebook(to_bytes(old), to_bytes(new), to_bytes(mine))
    value = json.loads(patched.content)
    assert [
        json.dumps(c, sort_keys=True) for c in value["cells"] if _is_theirs(c, answers)
    ] == before
    tests = {grade_id_of(c): c for c in new["cells"] if grade_id_of(c)}
    for cell in value["cells"]:
        known = tests.get(grade_id_of(cell))
        if known is not None and cell["id"] not in answers:
            assert (cell["source"], cell["metadata"]) == (known["source"], known["metadata"])
    assert set(tests) <= {grade_id_of(cell) for cell in value["cells"]}
    again = patch_notebook(to_bytes(old), to_bytes(new), patched.content)
    assert (again.content, again.changes) == (patched.content, ())
    assert len({cell["id"] for cell in value["cells"]}) == len(value["cells"])


def _is_theirs(cell: Cell, answers: dict[str, str]) -> bool:
    return cell["id"].startswith("own-") or cell["id"] in answers
