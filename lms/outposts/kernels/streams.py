"""Where a cell's output goes: ipykernel's own streams and session, with a line for a socket.

ipykernel flushes in a thread 0.2 seconds after a write, and reads the descriptors 1 and 2 in two
more. Here is no thread: what is due or lies in the descriptors' files is looked after at the next
write, flush or message, in the order the threads would have kept.
"""

import collections
import contextlib
import fcntl
import io
import os
import tempfile
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ipykernel.iostream import IOPubThread, OutStream
from jupyter_client.jsonutil import json_clean, json_default
from jupyter_client.session import Session, extract_header, json_packer
from traitlets import Any as AnyTrait

from lms.outposts.kernels.frames import HEADER_BYTES, Line, LineClosedError, pack, unpack

#: What nbclient takes notice of; status is implied, widgets have nobody to talk to.
_PUBLISHED = frozenset(
    {
        "stream",
        "execute_result",
        "display_data",
        "update_display_data",
        "error",
        "clear_output",
        "execute_input",
    }
)
#: A frame goes out whole or not at all, so it has to fit into the writer's buffer, whose pages are
#: memory only once they are used.
_BUFFER_BYTES = 80 << 20
#: Most bytes of one output; more is nobody's to read.
_OUTPUT_BYTES = 16 << 20
_LARGE_TEXT = 1 << 16
#: Beyond this a stream does not wait for its time: whoever prints without end is to be stopped.
_FLUSH_CHARACTERS = 1 << 19
_LOOK_SECONDS = 0.0002
_READ_BYTES = 1 << 20


class ProgramLine(Line):
    """The program's end: an exception out of a signal handler never leaves half a frame behind."""

    def open(self) -> None:
        """Make the writer; in the process that is going to write."""
        # BufferedWriter counts what is written in C: no handler of Python runs in between.
        raw = io.FileIO(os.dup(self.fileno()), "wb")
        self._writer = io.BufferedWriter(raw, _BUFFER_BYTES)

    def _write(self, data: bytes, timeout: float | None) -> None:
        del timeout
        try:
            if len(data) > _BUFFER_BYTES:
                raise ValueError(f"a frame of {len(data)} bytes is too large")
            self._writer.write(data)
            self._writer.flush()
        except OSError as error:
            if _is_notebooks(error):
                raise
            raise LineClosedError("the other side is gone") from error

    def forward(self, frames: bytes) -> None:
        """Send frames that are packed already."""
        self._write(frames, None)


class LineSession(Session):
    """ipykernel's session: what it would publish for a cell becomes a frame."""

    line = AnyTrait()
    publisher = AnyTrait()
    #: Not a trait, as in jupyter_client: setting one swallows what a signal handler of the
    #: notebook's raises meanwhile, and every flush sets it.
    pid: int = 0
    #: The reply to the running request, once it is there.
    reply = AnyTrait()
    #: Names of the errors published since the request began.
    errors = AnyTrait()

    def send(
        self,
        stream: object,
        msg_or_type: Any,  # noqa: ANN401 (jupyter_client's signature)
        content: Any = None,  # noqa: ANN401
        parent: Any = None,  # noqa: ANN401
        *rest: object,
        **more: object,
    ) -> dict[str, Any]:
        """Publish one message, or keep it when it is the reply."""
        del stream, rest, more
        if isinstance(msg_or_type, dict):
            kind = msg_or_type["header"]["msg_type"]
            content, parent = msg_or_type["content"], msg_or_type["parent_header"]
        else:
            kind = msg_or_type
        if kind == "execute_reply":
            self.reply = content
        elif kind in _PUBLISHED:
            self._publish(kind, content, extract_header(parent))
        return {"content": content}

    def _publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        if kind == "execute_input":
            content = {"execution_count": content["execution_count"]}
        if kind == "error" and self.errors is not None:
            self.errors.add(content["ename"])
        head = {"id": int(parent.get("msg_id", 0)), "msg_type": kind}
        self.publisher.emit(frame_of(head, content))


def frame_of(head: dict[str, Any], content: dict[str, Any]) -> bytes:
    """Return the frame of one message; large texts travel as blobs, too large ones are cut."""
    try:
        frame = pack({**head, "content": content}, default=json_default)
    except (TypeError, ValueError) as error:
        if _is_notebooks(error):
            raise
        # As ipykernel does it, with its warning.
        json_packer(content)
        content = json_clean(content)
        frame = pack({**head, "content": content}, default=json_default)
    if len(frame) <= _LARGE_TEXT:
        return frame
    return _with_blobs(head, content)


def _with_blobs(head: dict[str, Any], content: dict[str, Any]) -> bytes:
    places: list[list[str]] = []
    blobs: list[bytes] = []
    small = dict(content)
    left = _OUTPUT_BYTES
    for name, value in content.items():
        if isinstance(value, dict):
            small[name] = dict(value)
    for holder, path in (
        (small, []),
        *((small[name], [name]) for name in ("data",) if name in small),
    ):
        for name, value in list(holder.items()):
            if isinstance(value, str) and len(value) > _LARGE_TEXT >> 2:
                blob = value.encode("utf-8", "surrogatepass")[:left]
                left -= len(blob)
                places.append([*path, name])
                blobs.append(blob)
                holder[name] = ""
    frame = pack({**head, "content": small, "texts": places}, blobs, default=json_default)
    if len(frame) - sum(map(len, blobs)) > HEADER_BYTES:
        # Nested data of megabytes: the text form is what is left of it.
        data = {"text/plain": str(content.get("data", {}).get("text/plain", ""))[:_LARGE_TEXT]}
        frame = pack({**head, "content": {**small, "data": data, "metadata": {}}})
    return frame


class Publisher(IOPubThread):
    """Stands in for ipykernel's publishing thread; everything happens in the caller's."""

    thread: Any = None
    socket: Any = True
    io_loop: Any

    def __init__(self, line: ProgramLine | None = None) -> None:
        # Not the thread's own: it makes sockets and a loop.
        self.line = line
        self.io_loop = self
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._captured: list[tuple[int, CellStream]] = []
        self._waiting: collections.deque[bytes] = collections.deque()
        self._outbox = -1
        self._look_at = 0.0
        self._busy = threading.RLock()
        self._pid = os.getpid()

    def open(self, line: ProgramLine) -> None:
        """Begin to publish on `line`, in this process."""
        self.line = line
        self._pid = os.getpid()
        self._outbox = _memory_file("outbox")

    def capture(self, number: int, stream: "CellStream") -> None:
        """Let what is written to descriptor `number` come out of `stream`."""
        file = _memory_file(f"fd{number}")
        os.dup2(file, number)
        os.close(file)
        self._captured.append((number, stream))

    def schedule(self, f: Callable[[], object]) -> None:
        """Call `f` now."""
        f()

    def call_later(self, delay: float, f: Callable[[], None]) -> None:
        """Call `f` at the first look after `delay` seconds."""
        self._due.append((monotonic() + delay, f))

    def emit(self, frame: bytes) -> None:
        """Send a frame; a forked child's goes through the parent, as in ipykernel."""
        if self.line is None:
            return
        if os.getpid() != self._pid:
            os.write(self._outbox, frame)
            return
        self._waiting.append(frame)
        with contextlib.suppress(LineClosedError):
            while self._waiting and self._send(self._waiting.popleft()):
                pass

    def _send(self, frame: bytes) -> bool:
        try:
            if self.line is not None:
                self.line.forward(frame)
        except RuntimeError as error:
            if "reentrant call" not in str(error):
                raise
            # A signal handler prints in the middle of another frame; this one goes after it.
            self._waiting.appendleft(frame)
            return False
        return True

    def look(self, *, now: bool = False) -> None:
        """Flush what is due and take in what lies in the descriptors' files."""
        time = monotonic()
        if not now and time < self._look_at and not (self._due and self._due[0][0] <= time):
            return
        if os.getpid() != self._pid or not self._busy.acquire(blocking=now):
            return
        try:
            self._look_at = time + _LOOK_SECONDS
            while self._due and self._due[0][0] <= time:
                self._due.pop(0)[1]()
            self._harvest()
        finally:
            self._busy.release()

    def _harvest(self) -> None:
        for number, stream in self._captured:
            if data := _drain(number):
                stream.take(data.decode("utf-8", "replace"))
        if self.line is not None and (data := _drain(self._outbox)):
            for frame in _whole_frames(data):
                self.line.forward(frame)


class CellStream(OutStream):
    """ipykernel's sys.stdout or sys.stderr, without threads."""

    pub_thread: Any

    def __init__(self, session: LineSession, publisher: Publisher, name: str) -> None:
        super().__init__(session, publisher, name, watchfd=False)
        self._pending = 0

    def open(self, original: int) -> None:
        """Begin anew in a forked process; `original` is what the descriptor led to before."""
        self._master_pid = os.getpid()
        self._original_stdstream_copy = original
        self._rotate_buffers()
        self._flush_pending = False

    def write(self, string: str) -> int | None:  # type: ignore[override]
        """Keep text for the next flush."""
        if self.pub_thread is not None:  # closed by the notebook
            self.pub_thread.look()
        written = super().write(string)
        self._pending += len(string)
        if self._pending > _FLUSH_CHARACTERS:
            self._flush()
        return written

    def take(self, text: str) -> None:
        """Keep text that came by the descriptor."""
        for start in range(0, len(text), _FLUSH_CHARACTERS):
            super().write(text[start : start + _FLUSH_CHARACTERS])
            if start:
                self._flush()

    def _flush(self) -> None:
        self._pending = 0
        super()._flush()

    def flush(self) -> None:
        """Send what is kept."""
        if self.pub_thread is not None:
            self.pub_thread.look(now=True)
        super().flush()


def _memory_file(name: str) -> int:
    try:
        file = os.memfd_create(name)
    except PermissionError:  # where no control group counts such memory, a sandbox denies it
        file = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    # Writers append, whoever they are; what was read is cut off in front of them.
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    return file


def _drain(number: int) -> bytes:
    """Return what lies in a captured file and empty it; b"" when it is no longer that file."""
    try:
        size = os.fstat(number).st_size
        if not size:
            return b""
        parts = []
        offset = 0
        while data := os.pread(number, _READ_BYTES, offset):
            parts.append(data)
            offset += len(data)
        os.ftruncate(number, 0)
    except OSError as error:
        if _is_notebooks(error):
            raise
        return b""
    return b"".join(parts)


def _is_notebooks(error: Exception) -> bool:
    """Say whether a signal handler of the notebook's raised `error` in the middle of our work."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "__main__"


def _whole_frames(data: bytes) -> list[bytes]:
    """Return the frames in an outbox; a killed child may have left half a one at the end."""
    frames = []
    while len(data) >= 8:  # noqa: PLR2004 (the prefix)
        size = 8 + int.from_bytes(data[:4], "big") + int.from_bytes(data[4:8], "big")
        if size > len(data):
            break
        with contextlib.suppress(Exception):
            unpack(data[:size])
            frames.append(data[:size])
        data = data[size:]
    return frames
