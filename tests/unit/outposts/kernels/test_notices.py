"""What the server says about a kernel, and under which cell."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lms.outposts.kernels import notices
from lms.outposts.kernels.notices import Board, Header

ONE, TWO = {"msg_id": "1"}, {"msg_id": "2"}


@dataclass(eq=False)
class Tab:
    """A connection that remembers what it was told."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def write_stderr(self, error_message: str, parent_header: Header) -> None:
        self.said.append((error_message, parent_header["msg_id"]))


@pytest.fixture
def board() -> Iterator[Board]:
    notices.open_board("k")
    found = notices.find_board("k")
    assert found is not None
    yield found
    notices.close_board("k")
    assert notices.find_board("k") is None


def test_what_is_told_between_cells_stands_under_the_next_in_every_tab(board: Board) -> None:
    tabs = Tab(), Tab()
    notices.tell("k", "the GPU is there")
    for tab in tabs:
        board.begin(ONE, tab)
    board.end(ONE)
    for tab in tabs:
        board.begin(TWO, tab)
    assert [tab.said for tab in tabs] == [[("the GPU is there", "1")]] * 2


def test_a_running_cell_is_told_at_once(board: Board) -> None:
    tab = Tab()
    board.begin(ONE, tab)
    # A kernel answers other questions while a cell runs, and ends those too.
    board.end({"msg_id": "info"})
    notices.tell("k", "the time is up soon")
    assert tab.said == [("the time is up soon", "1")]


def test_what_a_closed_tab_or_an_ended_kernel_did_not_hear_waits(board: Board) -> None:
    tab = Tab()
    board.begin(ONE, tab)
    del tab
    notices.tell("k", "first")
    notices.begin_again("k")
    notices.tell("k", "second")
    new = Tab()
    board.begin(TWO, new)
    assert new.said == [("first", "2"), ("second", "2")]
