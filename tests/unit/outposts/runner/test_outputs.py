"""The output budget: what is kept, what is cut, and that an error is never pushed out."""

from typing import Any

import pytest
from nbformat import NotebookNode

from lms.outposts.runner.outputs import OutputBudget

KEPT = 10_000


def message(kind: str, **content: object) -> dict[str, Any]:
    return {"msg_type": kind, "content": content}


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return message("stream", name=name, text=text)


ERROR = message("error", ename="E", evalue="v" * 9000, traceback=["t" * 9000])
VALUE = message("execute_result", data={"text/plain": "0.5"}, metadata={}, execution_count=1)


def cell(*outputs: dict[str, Any]) -> NotebookNode:
    return NotebookNode(outputs=[NotebookNode(output) for output in outputs])


def spent() -> OutputBudget:
    budget = OutputBudget(KEPT)
    budget.admit(stream("x" * KEPT), cell())
    budget.next_cell()
    return budget


def test_within_the_budget_a_message_is_kept_whole() -> None:
    assert OutputBudget(KEPT).admit(stream("hello"), cell()) == stream("hello")


def test_beyond_the_budget_print_is_noted_once_a_cell() -> None:
    budget = spent()
    first = budget.admit(stream("more"), cell())
    assert first is not None
    assert "truncated" in first["content"]["text"]
    assert budget.admit(stream("more"), cell()) is None
    budget.next_cell()
    assert budget.admit(stream("more"), cell()) is not None


@pytest.mark.parametrize("decisive", [ERROR, stream("warn", "stderr"), VALUE])
def test_beyond_the_budget_what_decides_a_score_is_kept_once(decisive: dict[str, Any]) -> None:
    budget = spent()
    kept = budget.admit(decisive, cell())
    assert kept is not None
    output = {"output_type": decisive["msg_type"], **kept["content"]}
    assert len(str(output)) < 3000
    assert budget.admit(decisive, cell(output)) is None


def test_beyond_the_budget_pictures_are_dropped() -> None:
    picture = message("display_data", data={"image/png": "AAAA"}, metadata={})
    assert spent().admit(picture, cell()) is None


def test_a_cell_that_prints_several_budgets_floods() -> None:
    budget = OutputBudget(KEPT)
    budget.admit(stream("x" * 5 * KEPT), cell())
    assert budget.is_flooding
    budget.next_cell()
    assert not budget.is_flooding


@pytest.mark.parametrize(
    "content",
    [None, [], "text", {}, {"name": 5, "text": {}}, {"text": ["a", "b", 3]}, {"data": 7},
     {"data": {"text/plain": ["0", ".5"]}, "execution_count": "x"}, {"traceback": "none"},
     {"ename": {}, "evalue": [], "traceback": [1, None]}, {"execution_count": 1 << 80}],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["stream", "error", "execute_result", "display_data"])
def test_malformed_content_becomes_well_formed_or_nothing(kind: str, content: object) -> None:
    admitted = OutputBudget(KEPT).admit({"msg_type": kind, "content": content}, cell())
    if admitted is None:
        return
    kept = admitted["content"]
    if kind == "stream":
        assert kept["name"] in {"stdout", "stderr"}
        assert isinstance(kept["text"], str)
    elif kind == "error":
        assert all(isinstance(line, str) for line in [kept["ename"], *kept["traceback"]])
    else:
        assert all(isinstance(value, str) for value in kept["data"].values())
        assert kept.get("execution_count") is None or kept["execution_count"] < 1 << 31


def test_a_stream_of_no_name_counts_as_stderr() -> None:
    admitted = OutputBudget(KEPT).admit(stream("x", "other"), cell())
    assert admitted is not None
    assert admitted["content"]["name"] == "stderr"


def test_unknown_messages_are_dropped_and_control_passes() -> None:
    budget = OutputBudget(KEPT)
    assert budget.admit(message("comm_open", data={}), cell()) is None
    assert budget.admit(message("status", execution_state="idle"), cell()) is not None
    admitted = budget.admit(message("execute_input", execution_count={}, code="x" * 99), cell())
    assert admitted is not None
    assert admitted["content"] == {"execution_count": None}
