"""The tests' side of the split run: stubs for the student's names, each call a question.

Here runs nothing of the student's. What comes back is plain data, or a handle that can be called
but not compared: an object could lie about itself.
"""

import builtins
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

from lms.outposts.kernels import carried, handles
from lms.outposts.kernels.cells import HANDLERS
from lms.outposts.kernels.handles import CannotVerifyError
from lms.outposts.kernels.objects import read_object, rebuilt, write_object
from lms.outposts.kernels.talk import Content, Parcel, opened, read
from lms.outposts.kernels.update import update
from lms.outposts.kernels.values import (
    BrokenValueError,
    Decoder,
    Encoder,
    Node,
    UnsupportedError,
)

_MISSING = object()
_MOST_REMARKS = 50


class Tests:
    """What the tests' interpreter knows of the student's process."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 (the cells program's session)
        self.session = session
        session.shell.showtraceback = self._show_error
        self.random = carried.RandomState()
        #: Classes of the student's that the reference solution has too, with their operators.
        self.allowed: dict[str, list[str]] = {}
        self._filters = list(warnings.filters)
        self._given: list[str] = []
        #: Why this cell cannot be verified: a code and what it is about.
        self.remarks: list[list[str]] = []
        self._bound: dict[str, object] = {}
        self._stubs: dict[int, object] = {}
        self._numbers: dict[int, int] = {}
        self._callbacks: list[Any] = []
        self._raised: list[BaseException] = []

    def _show_error(self, *_args: object, **_named: object) -> None:
        # That there is an error decides the score; nobody reads where it was.
        kind, error, _ = sys.exc_info()
        self.session.shell._showtraceback(kind, error, [])  # noqa: SLF001 (what IPython's own ends in)

    @property
    def names(self) -> dict[str, Any]:
        """The names of the tests' interpreter."""
        names: dict[str, Any] = self.session.shell.user_ns
        return names

    def doubt(self, code: str, about: str) -> CannotVerifyError:
        """Remember why the running cell cannot be verified; raise what is returned."""
        if len(self.remarks) < _MOST_REMARKS:
            self.remarks.append([code, about[:200]])
        return CannotVerifyError(f"{code}: {about}")

    # --- questions --------------------------------------------------------------------------

    def call(self, target: object, how: str, name: str, args: Any, named: Any) -> Any:  # noqa: ANN401 (a call of any function)
        """Put one question to the student's process and give what came of it."""
        encoder = Encoder(self._foreign)
        try:
            node = encoder.node((target, tuple(args), tuple(named.items())))
        except UnsupportedError as error:
            raise self.doubt("argument", str(error)) from None
        parcel = Parcel()
        content = {"op": "call", "how": how, "name": name, "given": parcel.add(node, encoder)}
        content |= self._surroundings(parcel)
        answer, blobs = self._ask(content, parcel)
        try:
            return self._taken(answer, blobs, encoder.numbered)
        except BrokenValueError as error:
            raise self.doubt("broken", str(error)) from None

    def _surroundings(self, parcel: Parcel) -> Content:
        state = Encoder()
        return {
            "random": parcel.add(state.node(self.random.changed()), state),
            "filters": carried.write_filters(self._filters),
            "errstate": carried.write_errstate(),
            "input": self._callback(builtins.input) if carried.is_input_replaced() else None,
        }

    def _ask(self, content: Content, parcel: Parcel) -> tuple[Content, Sequence[bytes]]:
        """Send a question and wait for its answer; the tests' own functions run meanwhile."""
        content |= self._renamed(parcel)
        line = self.session.line
        line.send({"ask": True}, parcel.written(content))
        while True:
            header, blobs = line.receive(None)
            if header.get("do") == "answer":
                return self._read(blobs), blobs
            if header.get("do") != "callback":
                raise self.doubt("gone", str(header.get("reason", "")))
            line.send({"returned": True}, self._called_back(blobs))

    def _read(self, blobs: Sequence[bytes]) -> Content:
        try:
            return read(blobs)
        except BrokenValueError as error:
            raise self.doubt("broken", str(error)) from None

    def _renamed(self, parcel: Parcel) -> Content:
        """Tell which of the student's functions the test replaced or took away.

        Only functions and handles: a value that a test puts there may be an expected one.
        """
        gone, rebound = [], []
        for name, before in list(self._bound.items()):
            now = self.names.get(name, _MISSING)
            if now is before:
                continue
            if now is _MISSING:
                gone.append(name)
            elif id(now) in self._numbers or callable(now):
                encoder = Encoder(self._foreign)
                rebound.append([name, parcel.add(encoder.node(now), encoder)])
            else:
                continue
            self._bound[name] = now
        return {"gone": gone, "rebound": rebound}

    def _called_back(self, blobs: Sequence[bytes]) -> list[bytes]:
        parcel, encoder = Parcel(), Encoder(self._foreign)
        try:
            content = self._read(blobs)
            node, decoder = opened(content["given"], blobs, self._resolve)
            args, named = decoder.value(node)
            result = self._callbacks[int(content["number"])](*args, **dict(named))
            return parcel.written({"value": parcel.add(encoder.node(result), encoder)})
        except BaseException as error:  # noqa: BLE001 (it goes through the student's function)
            if isinstance(error, UnsupportedError):
                self.doubt("argument", str(error))
            self._raised.append(error)
            told = {
                "value": parcel.add(["t", str(error)[:1000]], Encoder()),
                "raised": len(self._raised) - 1,
                "kind": ["builtins", _builtin_of(error).__name__],
            }
            return parcel.written(told)

    # --- what comes back --------------------------------------------------------------------

    def _taken(self, answer: Content, blobs: Sequence[bytes], known: list[object]) -> Any:  # noqa: ANN401 (any result)
        for stream, text in answer["out"]:
            if stream in {"stdout", "stderr"}:
                getattr(sys, stream).write(text)
        node, decoder = opened(answer["random"], blobs, self._resolve)
        self.random.set(decoder.value(node))
        for place, packed in answer["changed"]:
            self._change(known[place], packed, blobs, known)
        carried.replay_warnings(answer["warned"])
        if "error" in answer:
            raise self._error(answer["error"], blobs) from None
        node, decoder = opened(answer["ok"], blobs, self._resolve, known)
        return decoder.value(node)

    def _change(
        self, old: object, packed: Node, blobs: Sequence[bytes], known: list[object]
    ) -> None:
        """Do to an argument what the student's function did to its copy."""
        if packed is None:
            raise self.doubt("changed", type(old).__name__)
        node, decoder = opened(packed, blobs, self._resolve, known)
        if not update(old, decoder.value(node)):
            raise self.doubt("changed", type(old).__name__)

    def _error(self, told: Content, blobs: Sequence[bytes]) -> BaseException:
        if "back" in told:
            return self._raised[int(told["back"])]
        kind = next(filter(None, map(self._exception_class, told["line"])), RuntimeError)
        node, decoder = opened(told["args"], blobs, self._resolve)
        args = decoder.value(node)
        error = rebuilt(kind, args if type(args) is tuple else (str(told["text"]),))
        node, decoder = opened(told["state"], blobs, self._resolve)
        state = decoder.value(node)
        with contextlib.suppress(Exception):
            vars(error).update(state if type(state) is dict else {})
        return error

    def _exception_class(self, named: Sequence[Any]) -> type[BaseException] | None:
        module, name = named
        own = self.names.get(name) if module == "__main__" else None
        if _is_class(own) and issubclass(own, BaseException):
            return own
        return carried.find_class(named)

    # --- values -----------------------------------------------------------------------------

    def _foreign(self, encoder: Encoder, value: Any) -> Node:  # noqa: ANN401 (anything a test has)
        number = self._numbers.get(id(value))
        if number is not None:
            return ["h", number]
        kind = type(value)
        if kind.__name__ in self._given and self.names.get(kind.__name__) is kind:
            return write_object(encoder, value, kind.__name__)
        if _is_class(value):
            name = value.__name__
            if self.names.get(name) is value and name in self._given:
                return ["g", name]
            raise UnsupportedError(f"the class {name} of the test's own")
        if callable(value):
            return ["cb", self._callback(value)]
        raise UnsupportedError(f"{kind.__name__} is no plain data")

    def _callback(self, function: object) -> int:
        for number, known in enumerate(self._callbacks):
            if known is function:
                return number
        self._callbacks.append(function)
        return len(self._callbacks) - 1

    def _resolve(self, decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (a stub of some kind)
        if node[0] == "cb":
            return self._callbacks[node[1]]
        if node[0] == "ob":
            classes = {name: self.names[name] for name in self._given if name in self.names}
            if not _is_class(classes.get(node[1])):
                raise BrokenValueError("an object of an unknown class")
            return read_object(decoder, node, classes)
        if node[0] != "h" or type(node[2]) is not int:
            raise BrokenValueError("an unknown kind of value")
        return self._stub(node[1], node[2], node[3:])

    def _stub(self, kind: object, number: int, facts: Sequence[Any]) -> object:
        if number in self._stubs:
            return self._stubs[number]
        if kind in {"object", "class"}:
            # Classes first, the farthest base before all: each is made from the one before.
            line = [self._stub(one[0], one[1], one[2:]) for one in reversed(facts[1])]
            facts = [facts[0], line[::-1]]
        stub = handles.make(self, kind, facts)
        self._stubs[number] = stub
        self._numbers[id(stub)] = number
        return stub

    # --- what the worker asks ---------------------------------------------------------------

    def bind(self, header: Content) -> list[str]:
        """Make stubs of the student's names that the next cell uses; returns those missing."""
        self.allowed = dict(header["allowed"])
        self._given = list(header["given"])
        self.remarks.clear()
        self.random.forget()
        names = list(header["names"])
        if not names:
            return []
        content = {"op": "bind", "names": names, "given": self._given}
        answer, blobs = self._ask(content, Parcel())
        found = {}
        for name, packed in answer["names"]:
            node, decoder = opened(packed, blobs, self._resolve)
            found[name] = decoder.value(node)
        for name in names:
            if name in found:
                self.names[name] = self._bound[name] = found[name]
            else:
                self.names.pop(name, None)
        return [name for name in names if name not in found]

    def give(self, source: str) -> bool:
        """Run a cell that is no test, which shows nothing; False when it failed."""
        unheard = io.StringIO()
        try:
            with contextlib.redirect_stdout(unheard), contextlib.redirect_stderr(unheard):
                exec(compile(source, "<given>", "exec"), self.names)  # noqa: S102 (the release's own cell)
        except Exception:  # noqa: BLE001 (it may need what only the student's process has)
            return False
        return True

    def settle(self) -> list[list[str]]:
        """Tell the student's process what the cell renamed; returns why it cannot be verified."""
        parcel = Parcel()
        renamed = self._renamed(parcel)
        if renamed["gone"] or renamed["rebound"]:
            content = {"op": "sync", **renamed}
            self.session.line.send({"ask": True}, parcel.written(content))
            self.session.line.receive(None)
        return self.remarks


def _is_class(value: object) -> TypeGuard[type[Any]]:
    # Not isinstance: stand-ins refuse to be asked.
    return issubclass(type(value), type)


def _builtin_of(error: BaseException) -> type[BaseException]:
    return next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")


_TESTS: dict[int, Tests] = {}


def _tests(session: Any) -> Tests:  # noqa: ANN401 (the cells program's session)
    if os.getpid() not in _TESTS:
        _TESTS[os.getpid()] = Tests(session)
    return _TESTS[os.getpid()]


@contextlib.contextmanager
def _told(session: Any, reply: dict[str, Any]) -> Iterator[None]:  # noqa: ANN401 (the cells program's session)
    """Send `reply` whatever happens; a question that failed is a remark."""
    tests = _tests(session)
    try:
        yield
    except CannotVerifyError:
        pass
    except (BrokenValueError, LookupError, TypeError, ValueError) as error:
        tests.doubt("broken", f"{type(error).__name__}: {error}")
    reply["remarks"] = list(tests.remarks)
    session.line.send(reply)


def bind(session: Any, header: Content, blobs: Sequence[bytes]) -> None:  # noqa: ANN401 (the cells program's session)
    """Bind the names of the next cell."""
    del blobs
    reply: dict[str, Any] = {"bound": True, "missing": []}
    with _told(session, reply):
        tests = _tests(session)
        reply["missing"] = tests.bind(header)
        if "source" in header:
            reply["failed"] = not tests.give(header["source"])
            tests.settle()


def settle(session: Any, header: Content, blobs: Sequence[bytes]) -> None:  # noqa: ANN401 (the cells program's session)
    """Say what there is to remark on the cell that just ran."""
    del header, blobs
    with _told(session, {"settled": True}):
        _tests(session).settle()


VERBS: dict[str, Callable[[Any, Content, Sequence[bytes]], None]] = {"bind": bind, "settle": settle}
HANDLERS.update(VERBS)
