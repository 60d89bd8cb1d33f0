"""What goes with a call besides its arguments: random state, warning filters, numpy's errstate.

Tests set these where they run; the student's function must find them where it runs, and what it
draws must be missing where the test goes on.
"""

import builtins
import ctypes
import random
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from lms.outposts.kernels.values import Node

#: Read once, at import: the state every program of a zygote begins with.
_DEFAULT_INPUT = builtins.input


class RandomState:
    """The global generators of a process, and which of their states the other side knows."""

    def __init__(self) -> None:
        self._seen = _glance()
        self._first = self._known = _read()
        self._first_seen = self._seen

    def forget(self) -> None:
        """Expect of the other side no more than the state it began with."""
        self._known, self._seen = self._first, self._first_seen

    def mark(self) -> None:
        """Take the present states for known to the other side."""
        self.changed()

    def changed(self) -> dict[str, Any]:
        """Return the states that the other side does not know, and take them for known."""
        seen = _glance()
        # A pair of normal numbers is drawn at once: the second one leaves no trace in a glance.
        if seen == self._seen and not _has_gauss(self._known):
            return {}
        now = _read()
        changed = {name: state for name, state in now.items() if self._known.get(name) != state}
        self._known, self._seen = now, seen
        return changed

    def set(self, states: dict[str, Any]) -> None:
        """Take over the other side's states, and take the present ones for known."""
        for name, state in states.items():
            if name in _SET:
                _SET[name](state)
        self.mark()


def _read() -> dict[str, Any]:
    return {name: read() for name, read in _GET.items()} | _get_torch()


def _has_gauss(states: dict[str, Any]) -> bool:
    numpy = states.get("numpy") or (0, 0, 0, 0)
    return bool(numpy[3])


#: A twister's 624 words and its place among them.
_TWISTER_BYTES = 4 * 625
_OBJECT_HEAD_BYTES = 16


def _glance() -> tuple[Any, ...]:
    """Return something that changes when a state does; reading a whole state takes far longer."""
    inst: Any = random._inst  # noqa: SLF001 (the global generator)
    plain = ctypes.string_at(id(inst) + _OBJECT_HEAD_BYTES, _TWISTER_BYTES)
    return (plain, inst.gauss_next, _glance_numpy(), _get_torch())


def _glance_numpy() -> bytes:
    numpy = sys.modules.get("numpy.random")
    if numpy is None:
        return b""
    generator = numpy.mtrand._rand._bit_generator  # noqa: SLF001 (the global generator)
    return ctypes.string_at(generator.ctypes.state_address, _TWISTER_BYTES)


def _get_numpy() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    kind, keys, *rest = numpy.random.get_state(legacy=True)
    return (kind, keys.tobytes(), *rest)


def _set_numpy(state: tuple[Any, ...]) -> None:
    if not state:
        return
    import numpy as np

    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002 (the global generator is meant)


def _get_torch() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {} if torch is None else {"torch": torch.get_rng_state().numpy().tobytes()}


def _set_torch(state: bytes) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


_GET: dict[str, Callable[[], Any]] = {"random": random.getstate, "numpy": _get_numpy}
_SET: dict[str, Callable[[Any], None]] = {
    "random": random.setstate,
    "numpy": _set_numpy,
    "torch": _set_torch,
}


def write_filters(baseline: Sequence[Any]) -> Node:
    """Return the warning filters when they are not the `baseline`, else None."""
    filters = warnings.filters
    if filters is baseline or list(filters) == list(baseline):
        return None
    return [
        [action, _pattern(message), _named(category), _pattern(module), line]
        for action, message, category, module, line in filters
    ]


def read_filters(node: Node) -> list[Any]:
    """Return the filters of `write_filters`."""
    return [
        (action, _compiled(message), find_class(category) or Warning, _compiled(module), line)
        for action, message, category, module, line in node
    ]


def _pattern(value: Any) -> Node:  # noqa: ANN401 (a compiled pattern, a text or None)
    if value is None or isinstance(value, str):
        return value
    return [value.pattern, value.flags]


def _compiled(node: Node) -> Any:  # noqa: ANN401 (a compiled pattern or None)
    return re.compile(*node) if isinstance(node, list) else node


def _named(kind: Any) -> list[str]:  # noqa: ANN401 (a class, or several in one filter)
    kind = kind[0] if isinstance(kind, tuple) else kind
    return [kind.__module__, kind.__qualname__]


#: Packages whose exceptions and warnings keep their class; they must be imported already.
_KNOWN_PACKAGES = frozenset(
    {"builtins", "numpy", "pandas", "scipy", "sklearn", "torch", "json", "decimal", "zoneinfo"}
)


def find_class(named: Sequence[Any]) -> type[BaseException] | None:
    """Return the exception class of a known package by module and name, or None."""
    module, name = named
    if not isinstance(module, str) or module.partition(".")[0] not in _KNOWN_PACKAGES:
        return None
    found: Any = sys.modules.get(module)
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return None


def write_errstate() -> dict[str, str] | None:
    """Return numpy's treatment of floating point errors when it is not the usual one."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    state: dict[str, str] = numpy.geterr()
    usual = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
    return None if state == usual else state


def is_input_replaced() -> bool:
    """Say whether a test answers for the keyboard."""
    return builtins.input is not _DEFAULT_INPUT and not _is_kernels(builtins.input)


def _is_kernels(function: object) -> bool:
    module = getattr(function, "__module__", None) or ""
    return isinstance(module, str) and module.startswith(("ipykernel", "lms."))


def write_warnings(caught: Sequence["warnings.WarningMessage"]) -> list[Node]:
    """Return what was warned of, as class, text and place."""
    return [
        [[_named(kind) for kind in type(item.message).__mro__], str(item.message), item.lineno]
        for item in caught
        if isinstance(item.message, Warning)
    ]


def replay_warnings(nodes: Sequence[Node]) -> None:
    """Warn of the same here: a test that catches warnings gets them, others print them."""
    for names, text, line in nodes:
        kinds = (find_class(named) for named in names)
        kind = next((kind for kind in kinds if kind and issubclass(kind, Warning)), UserWarning)
        number = line if type(line) is int else 1
        warnings.showwarning(kind(str(text)), kind, "<student>", number)
