"""Reading notebooks: what is taken of a student's, and how an instructor's is settled."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.outposts.runner.errors import ReleaseError, SubmissionError
from lms.outposts.runner.notebooks import (
    NOTEBOOK_BYTES,
    SubmittedCell,
    read_source,
    read_submitted,
    stable_id,
)
from tests.factories.notebooks import marked, notebook, plain, solution, to_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


def test_only_type_source_and_grade_id_are_taken() -> None:
    cell = solution("a", "x = 1") | {"attachments": {}, "outputs": [{"output_type": "evil"}]}
    (read,) = read_submitted(to_bytes(notebook(cell)))
    assert read == SubmittedCell(cell_type="code", source="x = 1", grade_id="a")


def test_a_tag_that_changes_the_run_is_noticed() -> None:
    tagged = plain("1", tags=["skip-execution"])
    assert [cell.is_tagged for cell in read_submitted(to_bytes(notebook(tagged, plain("2"))))] == [
        True,
        False,
    ]


def test_source_lines_are_joined_and_broken_characters_replaced() -> None:
    value = notebook(plain(""), plain(""))
    value["cells"][0]["source"] = ["a\n", "b", 5]
    value["cells"][1]["source"] = "\ud800x"
    sources = [cell.source for cell in read_submitted(json.dumps(value).encode())]
    assert sources == ["a\nb", "\ufffdx"]


def test_a_byte_order_mark_and_nan_are_read() -> None:
    content = b'\xef\xbb\xbf{"nbformat": 4, "cells": [], "metadata": {"x": NaN}}'
    assert read_submitted(content) == ()


def test_format_three_is_upgraded() -> None:
    cell = {"cell_type": "code", "input": ["x = 1"], "outputs": [], "language": "python",
            "metadata": {"nbgrader": {"grade_id": "a"}}}  # fmt: skip
    value = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell]}]}
    assert read_submitted(json.dumps(value).encode()) == (
        SubmittedCell(cell_type="code", source="x = 1", grade_id="a"),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a Jupyter notebook"),
        (b"\xff\xfe", "not a Jupyter notebook"),
        (b'"text"', "not a Jupyter notebook"),
        (b'{"nbformat": "4"}', "not a Jupyter notebook"),
        (b'{"nbformat": 4}', "not a Jupyter notebook"),
        (b'{"nbformat": 4, "cells": [null]}', "not a Jupyter notebook"),
        (b'{"nbformat": 5, "cells": []}', "format 5"),
        (b'{"nbformat": 0, "cells": []}', "format 0"),
        (b'{"nbformat": 3, "worksheets": 7}', "not a Jupyter notebook"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[]," * 1_000_001, "far more values"),
        (b"x" * (NOTEBOOK_BYTES + 1), "larger than 50 MB"),
    ],
    ids=range(12),
)
def test_what_is_no_notebook_is_refused_in_a_sentence(content: bytes, words: str) -> None:
    with pytest.raises(SubmissionError, match=words):
        read_submitted(content)


def test_too_much_code_is_refused() -> None:
    with pytest.raises(SubmissionError, match="more than 8 MB of code"):
        read_submitted(to_bytes(notebook(plain("x" * (9 << 20)))))


@given(JSON, JSON, JSON)
def test_whatever_the_json_says_it_is_read_or_refused(
    cells: object, cell: object, nbgrader: object
) -> None:
    for value in (
        {"nbformat": 4, "cells": cells},
        {"nbformat": 4, "cells": [cell]},
        {"nbformat": 4, "cells": [{"cell_type": cell, "source": cell, "metadata": nbgrader}]},
        {"nbformat": 4, "cells": [{"cell_type": "code", "metadata": {"nbgrader": nbgrader}}]},
        {"nbformat": 3, "worksheets": cells},
    ):
        try:
            read = read_submitted(json.dumps(value).encode())
        except SubmissionError:
            continue
        assert all(isinstance(one.source, str) for one in read)
        assert all(one.grade_id is None or isinstance(one.grade_id, str) for one in read)


def test_a_source_notebook_gets_the_same_ids_in_every_build() -> None:
    value = notebook(plain("1"), plain("1"), plain("2"))
    for cell, known in zip(value["cells"], ("same", "same", None), strict=True):
        cell.pop("id")
        cell.update({"id": known} if known else {})
    ids = [[cell.id for cell in read_source("n", to_bytes(value))[0].cells] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert ids[0][0] == "same"


def test_old_metadata_is_upgraded_and_its_version_told() -> None:
    old = marked("1", grade_id="a", grade=True, points=2, locked=True)
    for key in ("schema_version", "task"):
        old["metadata"]["nbgrader"].pop(key)
    node, schema = read_source("n", to_bytes(notebook(old)))
    assert schema == 0
    assert node.cells[0].metadata.nbgrader.schema_version == 3


def test_a_broken_source_names_the_notebook() -> None:
    with pytest.raises(ReleaseError, match="problem: This file is not a Jupyter notebook"):
        read_source("problem", b"{}")


def test_a_stable_id_is_a_valid_cell_id() -> None:
    assert stable_id("a", "b") == stable_id("a", "b") != stable_id("ab", "")
    assert stable_id("").isalnum()
