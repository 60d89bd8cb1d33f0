"""The student's side of the split run: answers what tests ask of the student's names.

It runs in the student's own process, so nothing here is trusted: the tests' side takes from it
plain data and handles only, and judges by itself. No test, no expected value and no score comes
here.
"""

import builtins
import contextlib
import functools
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lms.outposts.kernels import carried
from lms.outposts.kernels.cells import HANDLERS
from lms.outposts.kernels.objects import read_object, rebuilt, write_object
from lms.outposts.kernels.talk import Content, Parcel, opened, read
from lms.outposts.kernels.values import ENCODERS, Decoder, Encoder, Node, UnsupportedError

_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    functools.partial,
    type(functools.lru_cache(lambda: None)),
)
_MAX_HANDLES = 200_000


class _Answerer:
    """Keeps what the tests hold handles on, and speaks to them."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 (the cells program's session)
        self.session = session
        self.pid = os.getpid()
        self.random = carried.RandomState()
        #: Names of classes that locked cells define: their objects cross by value.
        self.given: list[str] = []
        self._handles: list[object] = []
        self._numbers: dict[int, int] = {}
        self._callbacks: dict[int, Callable[..., Any]] = {}
        self._raised: dict[int, int] = {}

    @property
    def names(self) -> dict[str, Any]:
        """The student's own names."""
        names: dict[str, Any] = self.session.shell.user_ns
        return names

    # --- values -----------------------------------------------------------------------------

    def _encoder(self, known: Sequence[object] = ()) -> Encoder:
        return Encoder(self._foreign, known)

    def _foreign(self, encoder: Encoder, value: object) -> Node:
        number = self._callback_number(value)
        if number is not None:
            return ["cb", number]
        kind = type(value)
        name = kind.__name__
        if name in self.given and self.names.get(name) is kind:
            return write_object(encoder, value, name)
        return ["h", *self._described(value)]

    def _callback_number(self, value: object) -> int | None:
        for number, callback in self._callbacks.items():
            if callback is value:
                return number
        return None

    def _described(self, value: object) -> list[Node]:
        number = self._number(value)
        if isinstance(value, type):
            bases = [
                ["class", self._number(base), _class_facts(base), []]
                for base in value.__mro__[1:]
                if self._is_own(base)
            ]
            return ["class", number, _class_facts(value), bases]
        if isinstance(value, _FUNCTIONS):
            return ["function", number, str(getattr(value, "__name__", "function"))]
        kind = type(value)
        if kind.__module__ in {"builtins", "itertools"} and hasattr(kind, "__iter__"):
            return ["iterator", number, kind.__name__]
        line = [
            ["class", self._number(base), _class_facts(base), []]
            for base in kind.__mro__
            if self._is_own(base)
        ]
        return ["object", number, kind.__name__, line]

    def _is_own(self, kind: type) -> bool:
        return self.names.get(kind.__name__) is kind

    def _number(self, value: object) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._handles) >= _MAX_HANDLES:
                raise UnsupportedError("too many objects at once")
            number = self._numbers[id(value)] = len(self._handles)
            self._handles.append(value)
        return number

    def _resolve(self, decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (whatever a handle stands for)
        kind, number = node[:2]
        if kind == "h":
            return self._handles[number]
        if kind == "cb":
            return self._callback(number)
        if kind == "g":
            return self.names[number]
        if kind == "ob":
            return read_object(decoder, node, self.names)
        raise ValueError("an unknown kind of value")

    def _callback(self, number: int) -> Callable[..., Any]:
        if number not in self._callbacks:

            def callback(*args: Any, **named: Any) -> Any:  # noqa: ANN401 (a test's function)
                return self._ask_back(number, args, named)

            self._callbacks[number] = callback
        return self._callbacks[number]

    def _ask_back(self, number: int, args: Any, named: Any) -> Any:  # noqa: ANN401 (a test's function)
        encoder, parcel = self._encoder(), Parcel()
        given = encoder.node((args, tuple(named.items())))
        content = {"number": number, "given": parcel.add(given, encoder)}
        self.session.line.send({"callback": True}, parcel.written(content))
        _, blobs = self.session.line.receive(None)
        returned = read(blobs)
        node, decoder = opened(returned["value"], blobs, self._resolve)
        value = decoder.value(node)
        if "raised" not in returned:
            return value
        kind = carried.find_class(returned["kind"]) or RuntimeError
        error = rebuilt(kind, value)
        self._raised[id(error)] = returned["raised"]
        self._handles.append(error)
        raise error

    # --- what is asked ----------------------------------------------------------------------

    def bind(self, ask: Content, blobs: Sequence[bytes]) -> list[bytes]:
        """Return the values of names; a name that is not there is left out."""
        del blobs
        self.given = list(ask["given"])
        parcel = Parcel()
        found = [
            [name, self._packed(parcel, self.names[name])]
            for name in ask["names"]
            if name in self.names
        ]
        return parcel.written({"names": found})

    def _packed(self, parcel: Parcel, value: object) -> Node:
        encoder = self._encoder()
        try:
            return parcel.add(encoder.node(value), encoder)
        except Exception:  # noqa: BLE001 (the student's objects may raise anything)
            return parcel.add(self._bare(value), Encoder())

    def _bare(self, value: object) -> Node:
        return ["h", "object", self._number(value), type(value).__name__, []]

    def begin(self, ask: Content, blobs: Sequence[bytes]) -> list[bytes]:
        """Show nothing from here on: values and tracebacks are for people, and cost much."""
        del ask, blobs
        self.session.shell.ast_node_interactivity = "none"
        self.session.shell.showtraceback = lambda *_args, **_named: None
        return Parcel().written({})

    def sync(self, ask: Content, blobs: Sequence[bytes]) -> list[bytes]:
        """Follow what the test did to the student's own names."""
        for name in ask.get("gone", ()):
            self.names.pop(name, None)
        for name, packed in ask.get("rebound", ()):
            node, decoder = opened(packed, blobs, self._resolve)
            self.names[name] = decoder.value(node)
        return Parcel().written({})

    def call(self, ask: Content, blobs: Sequence[bytes]) -> list[bytes]:
        """Do what the test asks of one object, and tell everything that came of it."""
        node, decoder = opened(ask["given"], blobs, self._resolve)
        target, args, named = decoder.value(node)
        known = list(decoder.numbered)
        before = [_shallow(value, known) for value in known]
        state, reader = opened(ask["random"], blobs, self._resolve)
        self.random.set(reader.value(state))
        pieces: list[list[str]] = []
        outcome, error = None, None
        with _surroundings(self, ask, pieces) as caught:
            try:
                outcome = _do(ask["how"], ask["name"], target, args, dict(named))
            except BaseException as raised:  # noqa: BLE001 (the test gets what the function raises)
                error = raised
        if os.getpid() != self.pid:
            os._exit(0)  # a fork of the student's; the question was not put to it
        parcel = Parcel()
        content = self._outcome(parcel, known, outcome, error)
        content["changed"] = self._changed(parcel, known, before)
        content |= {"out": pieces, "warned": carried.write_warnings(caught)}
        encoder = Encoder()
        content["random"] = parcel.add(encoder.node(self.random.changed()), encoder)
        return parcel.written(content)

    def _outcome(
        self,
        parcel: Parcel,
        known: Sequence[object],
        outcome: object,
        error: BaseException | None,
    ) -> Content:
        if error is not None:
            return {"error": self._error(parcel, error)}
        encoder = self._encoder(known)
        try:
            return {"ok": parcel.add(encoder.node(outcome), encoder)}
        except Exception:  # noqa: BLE001 (the student's objects may raise anything)
            return {"ok": parcel.add(self._bare(outcome), Encoder())}

    def _changed(
        self, parcel: Parcel, known: Sequence[object], before: Sequence[object]
    ) -> list[Node]:
        changed: list[Node] = []
        for place, value in enumerate(known):
            if _shallow(value, known) == before[place]:
                continue
            encoder = self._encoder(known)
            try:
                changed.append([place, parcel.add(encoder.content(value), encoder)])
            except Exception:  # noqa: BLE001 (the student's objects may raise anything)
                changed.append([place, None])
        return changed

    def _error(self, parcel: Parcel, error: BaseException) -> Content:
        if id(error) in self._raised:
            return {"back": self._raised[id(error)]}
        text = ""
        with contextlib.suppress(BaseException):
            text = str(error)[:10_000]
        line = [[kind.__module__, kind.__qualname__] for kind in type(error).__mro__]
        args = self._packed(parcel, tuple(error.args))
        state = self._packed(parcel, dict(vars(error)))
        return {"line": line, "args": args, "text": text, "state": state}


def _shallow(value: object, known: Sequence[object]) -> Any:  # noqa: ANN401 (something to compare)
    """Return what a container holds, others of `known` by number."""
    encoder = Encoder(lambda _, other: ["id", id(other)], known)
    try:
        plain = vars(value) if hasattr(value, "__dict__") and type(value) not in ENCODERS else value
        return encoder.content(plain), encoder.blobs
    except UnsupportedError:
        return None


def _do(how: str, name: str, target: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ANN401 (one line a verb)
    if how == "call":
        return target(*args, **named)
    if how == "get":
        return getattr(target, name)
    if how == "set":
        return setattr(target, name, args[0])
    if how == "special":
        return getattr(type(target), name)(target, *args)
    raise ValueError(f"no such verb: {how}")


@contextlib.contextmanager
def _surroundings(
    answerer: _Answerer, ask: dict[str, Any], pieces: list[list[str]]
) -> Iterator[list[warnings.WarningMessage]]:
    """Make the test's surroundings the function's, and catch what it says."""
    caught: list[warnings.WarningMessage] = []
    with contextlib.ExitStack() as stack:
        if ask.get("filters") is not None:
            stack.enter_context(warnings.catch_warnings())
            # Through resetwarnings, so that what was warned of once counts as new.
            warnings.resetwarnings()
            warnings.filters[:] = carried.read_filters(ask["filters"])  # type: ignore[index]
        stack.enter_context(_attribute(warnings, "showwarning", _collector(caught)))
        if ask.get("errstate"):
            import numpy as np

            stack.enter_context(np.errstate(**ask["errstate"]))
        if ask.get("input") is not None:
            stack.enter_context(
                _attribute(builtins, "input", answerer._callback(ask["input"]))  # noqa: SLF001 (same module)
            )
        for name in ("stdout", "stderr"):
            stack.enter_context(_attribute(sys, name, _Catcher(name, pieces)))
        yield caught


def _collector(caught: list[warnings.WarningMessage]) -> Callable[..., None]:
    def show(message: Any, category: Any, filename: Any, lineno: Any, *_: Any) -> None:  # noqa: ANN401 (showwarning's signature)
        caught.append(warnings.WarningMessage(message, category, filename, lineno))

    return show


@contextlib.contextmanager
def _attribute(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


class _Catcher:
    """A stream that keeps what is written, in order with the other stream's."""

    encoding = "utf-8"
    errors = "strict"
    closed = False

    def __init__(self, name: str, pieces: list[list[str]]) -> None:
        self.name = f"<{name}>"
        self._stream = name
        self._pieces = pieces
        self._left = 4 << 20

    def write(self, text: str) -> int:
        """Keep a text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text and self._left > 0:
            self._left -= len(text)
            self._pieces.append([self._stream, text.encode("utf-8", "replace").decode()])
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Keep texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: all is kept."""

    def isatty(self) -> bool:
        """Say that nobody watches."""
        return False

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def fileno(self) -> int:
        """Refuse: there is no file."""
        import io

        raise io.UnsupportedOperation("fileno")


def _class_facts(kind: type) -> dict[str, Any]:
    specials = sorted(
        {
            name
            for base in kind.__mro__[:-1]
            for name in vars(base)
            if name.startswith("__") and name.endswith("__")
        }
    )
    raised = None
    if issubclass(kind, BaseException):
        names = ([base.__module__, base.__qualname__] for base in kind.__mro__)
        raised = next(named for named in names if named[0] == "builtins")
    line = [base.__name__ for base in kind.__mro__]
    return {"name": kind.__name__, "specials": specials, "raised": raised, "line": line}


_ANSWERERS: dict[int, _Answerer] = {}


def answer(session: Any, header: dict[str, Any], blobs: Sequence[bytes]) -> None:  # noqa: ANN401 (the cells program's session)
    """Answer one question of the tests over the session's line."""
    del header
    answerer = _ANSWERERS.get(os.getpid())
    if answerer is None:
        answerer = _ANSWERERS[os.getpid()] = _Answerer(session)
    ask = read(blobs)
    synced = answerer.sync(ask, blobs)
    verbs = {"begin": answerer.begin, "bind": answerer.bind, "call": answerer.call}
    parts = verbs[ask["op"]](ask, blobs) if ask["op"] in verbs else synced
    session.line.send({"answer": True}, parts)


HANDLERS["ask"] = answer
