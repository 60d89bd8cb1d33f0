"""Copies of notebooks; as they are JSON, several times as fast as `copy.deepcopy`."""

from typing import Any, cast

from nbformat import NotebookNode


def copied(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook, a cell or metadata that shares nothing that can change."""
    return cast("NotebookNode", _copied(notebook))


def _copied(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(value, dict):
        made = NotebookNode() if isinstance(value, NotebookNode) else {}
        # Past the node's own setting of items, which looks at each for dictionaries to wrap.
        dict.update(made, {name: _copied(held) for name, held in value.items()})
        return made
    if isinstance(value, list):
        return [_copied(held) for held in value]
    return value
