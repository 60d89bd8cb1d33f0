"""How much of a kernel's output we hold, and in which shape.

Everything a kernel sends may be forged, endless or malformed. Beyond the budget only what decides
a score is kept (an error, stderr, a value), cut short: output must never push out an error.
"""

import json
from typing import Any

from nbformat import NotebookNode

_FLOOD_FACTOR = 4
#: Beyond this many times the budget, counted in bytes on the wire, the kernel is ended.
DROWN_FACTOR = 10
_CUT = 2_000
_LINES = 200
_TYPES = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error"})
_NOTE = "\n... Output truncated ...\n"


class OutputBudget:
    """Counts what a notebook's kernel sends and decides what of it is kept."""

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._seen_bytes = 0
        self._cell_bytes = 0
        self._is_told = False

    @property
    def is_flooding(self) -> bool:
        """The running cell alone has sent several times the budget: interrupt it."""
        return self._cell_bytes > _FLOOD_FACTOR * self._kept_bytes

    def next_cell(self) -> None:
        """Start counting for another cell."""
        self._cell_bytes = 0
        self._is_told = False

    def admit(self, message: dict[str, Any], cell: NotebookNode) -> dict[str, Any] | None:
        """Return the message to process, well-formed and cut if need be, or None to drop it."""
        kind = message["msg_type"]
        if kind == "execute_input":
            count = _count(message["content"].get("execution_count"))
            return {**message, "content": {"execution_count": count}}
        if kind not in _TYPES:
            return message if kind in {"status", "clear_output"} else None
        content = _well_formed(kind, message.get("content"))
        if content is None:
            return None
        size = _size(content)
        self._seen_bytes += size
        self._cell_bytes += size
        if self._seen_bytes > self._kept_bytes:
            content = self._decisive(kind, content, cell)
        return None if content is None else {**message, "content": content}

    def _decisive(
        self, kind: str, content: dict[str, Any], cell: NotebookNode
    ) -> dict[str, Any] | None:
        """Return what `determine_grade` would look at, once per kind and cell."""
        if kind == "stream" and content["name"] == "stdout":
            if self._is_told:
                return None
            self._is_told = True
            return {**content, "text": _NOTE}
        if kind not in {"stream", "error", "execute_result"}:
            return None
        if any(
            _kind_of(output) == _kind_of({"output_type": kind, **content})
            for output in cell.outputs
        ):
            return None
        return _cut(kind, content)


def _kind_of(output: Any) -> tuple[str, str]:  # noqa: ANN401 (a node or a message)
    return output["output_type"], output.get("name", "")


def _cut(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    if kind == "stream":
        return {**content, "text": content["text"][:_CUT] + _NOTE}
    if kind == "error":
        return {**content, "evalue": content["evalue"][:_CUT], "traceback": []}
    return {**content, "data": {"text/plain": content["data"].get("text/plain", "")[:_CUT]}}


def _well_formed(kind: str, content: object) -> dict[str, Any] | None:
    """Return the content with every field of the type nbformat asks for, or None."""
    if not isinstance(content, dict):
        return None
    if kind == "stream":
        name = content.get("name")
        return {
            "name": name if name in {"stdout", "stderr"} else "stderr",
            "text": _string(content.get("text")),
        }
    if kind == "error":
        trace = content.get("traceback")
        return {
            "ename": _string(content.get("ename"))[:_CUT],
            "evalue": _string(content.get("evalue")),
            "traceback": [_string(line) for line in trace] if isinstance(trace, list) else [],
        }
    return _display(content)


def _display(content: dict[str, Any]) -> dict[str, Any]:
    data = content.get("data")
    metadata = content.get("metadata")
    transient = content.get("transient")
    shown: dict[str, Any] = {
        "data": {
            mime: value if _is_json(mime) else _string(value)
            for mime, value in (data.items() if isinstance(data, dict) else ())
        },
        "metadata": metadata if isinstance(metadata, dict) else {},
        "transient": transient if isinstance(transient, dict) else {},
    }
    if "execution_count" in content:
        shown["execution_count"] = _count(content["execution_count"])
    return shown


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else None


def _is_json(mime: str) -> bool:
    return mime == "application/json" or mime.endswith("+json")


def _string(value: object) -> str:
    """Return text; a list of lines is joined, anything else is written out."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    text = value if isinstance(value, str) else "" if value is None else repr(value)[:_CUT]
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _size(content: dict[str, Any]) -> int:
    """Return about how many bytes a message makes us hold; small ones cost us work too."""
    return 64 + len(json.dumps(content, ensure_ascii=False, default=str))
