"""Words of the server to whoever works in a notebook: they appear under the cell that runs.

A kernel publishes what cells print; a notice comes from outside of it, so the server's own
connection to the browser adds it, as Jupyter does when a cell prints too fast. What nobody could be
told yet stands under the next cell that runs.
"""

from collections.abc import MutableSet
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet

#: The cell in work, as a message's header.
Header = dict[str, Any]


class Connection(Protocol):
    """A browser's line to a kernel."""

    def write_stderr(self, error_message: str, parent_header: Header) -> None:
        """Add text to what the cell of `parent_header` prints."""


@dataclass(slots=True)
class Board:
    """The notices of one kernel."""

    #: Those that no cell has shown yet.
    waiting: list[str] = field(default_factory=list)
    #: The request of the cell that runs, None when none does.
    running: Header | None = None
    #: The request of the cell that showed `shown`, for others that look at the same notebook.
    shown_by: str = ""
    shown: tuple[str, ...] = ()
    #: Who has seen the cell in work begin.
    watchers: MutableSet[Connection] = field(default_factory=WeakSet)

    def begin(self, cell: Header, connection: Connection) -> None:
        """Show what waits under a cell that begins, to each connection that sees it."""
        number = str(cell.get("msg_id", ""))
        if self.running is None or self.running.get("msg_id") != number:
            self.watchers.clear()
        self.running = cell
        self.watchers.add(connection)
        if self.waiting:
            self.shown, self.shown_by = tuple(self.waiting), number
            self.waiting.clear()
        if number == self.shown_by:
            for text in self.shown:
                connection.write_stderr(text, cell)

    def end(self, cell: Header) -> None:
        """Take note that a cell has ended, or something else that is answered as one."""
        if self.running is not None and self.running.get("msg_id") == cell.get("msg_id"):
            self.running, self.shown, self.shown_by = None, (), ""
            self.watchers.clear()

    def tell(self, text: str) -> None:
        """Show `text` under the cell that runs, or under the next one."""
        if self.running is None or not self.watchers:
            self.waiting.append(text)
            return
        for connection in list(self.watchers):
            connection.write_stderr(text, self.running)


_boards: dict[str, Board] = {}


def open_board(kernel_id: str) -> None:
    """Begin to look at what the kernel runs; others cost nothing."""
    _boards.setdefault(kernel_id, Board())


def close_board(kernel_id: str) -> None:
    """Forget the kernel."""
    _boards.pop(kernel_id, None)


def find_board(kernel_id: str) -> Board | None:
    """Return the kernel's board; None for a kernel that nobody has anything to say about."""
    return _boards.get(kernel_id)


def tell(kernel_id: str, text: str) -> None:
    """Show `text` under the cell that runs, or under the next one."""
    _boards.setdefault(kernel_id, Board()).tell(text)


def begin_again(kernel_id: str) -> None:
    """Take note that the kernel was started again: no cell runs."""
    board = _boards.get(kernel_id)
    if board is not None:
        board.running = None


def seen(kernel_id: str) -> None:
    """Take note that what waits has been read elsewhere."""
    board = _boards.get(kernel_id)
    if board is not None:
        board.waiting.clear()
