"""What a cell gives back, as nbclient would have written it into the notebook."""

from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat import NotebookNode

#: Fixed, not asked of the kernel: feedback picks its highlighter by it.
LANGUAGE_INFO = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}
#: Messages that become an output of the cell.
_OUTPUTS = frozenset({"stream", "display_data", "execute_result", "error"})
_FIELDS = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}
_NO_TRACEBACK = ["ERROR: An error occurred while showtraceback was disabled"]


@dataclass(slots=True)
class Collected:
    """One cell's outputs while they come in."""

    outputs: list[NotebookNode]
    execution_count: int | None = None
    #: The next output takes the place of all there is.
    clear_next: bool = False
    #: Display id -> places in `outputs`.
    displays: dict[str, list[int]] = field(default_factory=dict)


class Collector:
    """Takes a notebook's messages, cell after cell, as nbclient's `process_message` does."""

    def __init__(self) -> None:
        self._cells: list[Collected] = []

    def next_cell(self, outputs: list[NotebookNode]) -> Collected:
        """Begin another cell, which fills `outputs`."""
        self._cells.append(Collected(outputs=outputs))
        return self._cells[-1]

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take a message of the running cell; `content` has the shape `OutputBudget` gives."""
        cell = self._cells[-1]
        shown = content.get("transient", {}).get("display_id")
        display_id = shown if isinstance(shown, str) and shown else None
        if display_id and kind in {"execute_result", "display_data", "update_display_data"}:
            self._update(display_id, content)
        if "execution_count" in content:
            cell.execution_count = content["execution_count"]
        if kind == "clear_output":
            _clear(cell, later=content.get("wait") is True)
        elif kind in _OUTPUTS:
            _append(cell, kind, content, display_id)

    def _update(self, display_id: str, content: dict[str, Any]) -> None:
        for cell in self._cells:
            for place in cell.displays.get(display_id, ()):
                cell.outputs[place]["data"] = nbformat.from_dict(content["data"])
                cell.outputs[place]["metadata"] = nbformat.from_dict(content["metadata"])


def _clear(cell: Collected, *, later: bool) -> None:
    if later:
        cell.clear_next = True
        return
    cell.outputs[:] = []
    cell.displays.clear()


def _append(cell: Collected, kind: str, content: dict[str, Any], display_id: str | None) -> None:
    if cell.clear_next:
        _clear(cell, later=False)
        cell.clear_next = False
    if display_id:
        cell.displays.setdefault(display_id, []).append(len(cell.outputs))
    chosen = {name: content.get(name) for name in _FIELDS[kind]}
    cell.outputs.append(nbformat.from_dict({"output_type": kind, **chosen}))


def record_error(outputs: list[NotebookNode], reply: dict[str, Any]) -> None:
    """Add the reply's error where no output shows it, as nbgrader's `on_cell_executed` does."""
    shown = (output for output in outputs if output["output_type"] == "error")
    if any(output["ename"] == reply["ename"] for output in shown):
        return
    outputs.append(
        NotebookNode(
            output_type="error",
            ename=reply["ename"],
            evalue=reply["evalue"],
            traceback=reply["traceback"] or list(_NO_TRACEBACK),
        )
    )
