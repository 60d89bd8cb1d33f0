"""Tracebacks as IPython's, without its analysis of every frame, which costs more than the cell.

Name and text of an error are not made here and stay IPython's; `%xmode` brings its own rendering
back.
"""

import gc
import linecache
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self, cast

from IPython.core.getipython import get_ipython
from IPython.core.ultratb import AutoFormattedTB

_CONTEXT_LINES = 2
#: Frames shown of each end of a deep stack.
_END_FRAMES = 10
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[39m"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"


class PlainTraceback(AutoFormattedTB):
    """IPython's formatter with a cheap form of its default mode."""

    @classmethod
    def like(cls, formatter: Any) -> Self:  # noqa: ANN401 (IPython's)
        """Turn `formatter` itself into one of this kind: others may hold on to it."""
        formatter.__class__ = cls
        return cast("Self", formatter)

    def structured_traceback(
        self,
        etype: type,
        evalue: BaseException | None,
        etb: TracebackType | None = None,
        tb_offset: int | None = None,
        context: int = 5,
    ) -> list[str]:
        """Return the traceback in pieces."""
        if self.mode != "Context" or evalue is None or not isinstance(etb, TracebackType | None):
            stock: list[str] = super().structured_traceback(etype, evalue, etb, tb_offset, context)
            return stock
        self.tb = etb
        offset = self.tb_offset if tb_offset is None else tb_offset
        # IPython makes so much here that what the error holds on to grows old, and is collected
        # late if ever; a coroutine that nobody awaited is remarked on when it is collected.
        gc.collect(1)
        return list(_chain(evalue, etb, offset))


def _chain(error: BaseException, trace: TracebackType | None, offset: int) -> Iterator[str]:
    """Yield the pieces of an error and of those behind it, the oldest first."""
    links: list[tuple[BaseException, TracebackType | None, int, str]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    link = ""
    while current is not None and id(current) not in seen and len(links) < _END_FRAMES:
        seen.add(id(current))
        links.append((current, trace, offset, link))
        link = _CAUSE if current.__cause__ is not None else _CONTEXT
        behind = current.__cause__
        if behind is None and not current.__suppress_context__:
            behind = current.__context__
        current, offset = behind, 0
        trace = None if current is None else current.__traceback__
    for value, its_trace, its_offset, joint in reversed(links):
        yield from _one(value, its_trace, its_offset)
        if joint:
            yield joint


def _one(error: BaseException, trace: TracebackType | None, offset: int) -> Iterator[str]:
    name = type(error).__name__
    yield f"{_RED}{'-' * 75}{_PLAIN}"
    yield f"{_RED}{name}{_PLAIN}{'Traceback (most recent call last)':>{75 - len(name)}}"
    frames = list(traceback.walk_tb(trace))
    frames = frames[offset:] if len(frames) > offset else frames
    if len(frames) > 2 * _END_FRAMES:
        left_out = len(frames) - 2 * _END_FRAMES
        yield from map(_frame, frames[:_END_FRAMES])
        yield f"    ... {left_out} frames left out ...\n"
        yield from map(_frame, frames[-_END_FRAMES:])
    else:
        yield from map(_frame, frames)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (a notebook's own class)
        text = "<exception str() failed>"
    yield f"{_RED}{name}{_PLAIN}: {text}"


def _frame(entry: tuple[FrameType, int]) -> str:
    frame, line = entry
    code = frame.f_code
    shell = get_ipython()
    label = shell.compile.format_code_name(code.co_filename) if shell is not None else None
    if label is not None:
        place = f"{label[0]} {label[1]}, line {line}"
    else:
        place = f"File {code.co_filename}:{line}"
    if code.co_name != "<module>":
        place += f", in {code.co_name}"
    return "\n".join((f"{_GREEN}{place}{_PLAIN}", *_source(frame, line), ""))


def _source(frame: FrameType, line: int) -> Iterator[str]:
    lines = _lines(frame.f_code.co_filename, frame.f_globals)
    first = max(1, line - _CONTEXT_LINES, frame.f_code.co_firstlineno)
    for number in range(first, min(len(lines), line + _CONTEXT_LINES) + 1):
        text = lines[number - 1].rstrip()
        yield f"{_RED}----> {number} {text}{_PLAIN}" if number == line else f"{number:>7} {text}"


def _lines(file: str, names: dict[str, Any]) -> list[str]:
    if file in linecache.cache or not file.startswith("/"):
        return linecache.getlines(file, names)
    try:
        with open(file, "rb") as source:  # noqa: PTH123 (cheaper, and once a frame)
            return source.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
