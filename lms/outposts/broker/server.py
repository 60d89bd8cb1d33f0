"""The broker itself: answers one request a connection on a unix socket, and decides nothing twice.

A request is one SEQPACKET message. For a launch the connection becomes the control line between
the caller and the keeper: the broker checks, starts the keeper and lets go, so that neither its
load nor its end touches what runs. It never waits for anyone.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.broker import cgroups
from lms.outposts.broker.address import socket_address
from lms.outposts.broker.descriptors import receive
from lms.outposts.broker.launcher import (
    MESSAGE_BYTES,
    kernel_spec,
    start_keeper,
)
from lms.outposts.broker.probe import probe
from lms.outposts.broker.servers import ServerPlaces, ServerRefusedError, Servers
from lms.outposts.broker.spec import Spec
from lms.outposts.broker.zygotes import ZygoteError, ZygoteProcess
from lms.protocol.broker import (
    KernelRequest,
    SandboxReport,
    ServerRequest,
    check_server_name,
    check_username,
)

_log = logging.getLogger(__name__)
_CREDENTIALS = struct.Struct("3i")
_ASK_SECONDS = 5.0
_MAX_WAITING = 256
_MAX_STRANGERS = 16
#: Descriptors that come with a request: a program's channel.
_MAX_GIVEN = 1
_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where the broker listens and whom it serves; root always may."""

    socket_path: Path
    places: ServerPlaces
    #: May launch kernels.
    worker_uid: int
    #: May handle servers.
    hub_uid: int
    #: Run kernels without a sandbox where the probe found none; the operator's choice.
    unsafe: bool = False
    #: May ask what sandboxes have here.
    other_uids: tuple[int, ...] = ()
    #: Start the zygote with the broker, not with the first launch that needs it.
    zygote_at_start: bool = True


class RefusedError(Exception):
    """The caller may not ask this, or asked nonsense; the text goes back."""


@dataclass(frozen=True, slots=True)
class _Caller:
    pid: int
    uid: int
    #: When we stop waiting for its request.
    until: float


class Broker:
    """Serves requests until told to stop."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._servers = Servers(config.places)
        self._selector = selectors.DefaultSelector()
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._callers: dict[socket.socket, _Caller] = {}
        self._report: SandboxReport | None = None
        self._wake = os.pipe()
        self._zygote: ZygoteProcess | None = None

    def run(self) -> None:
        """Listen until SIGTERM or `stop`; servers and kernels that run go on."""
        cgroups.sweep(cgroups.detect())
        if self._config.zygote_at_start:
            self._start_zygote()
        self._report = probe()
        with self._listen() as listener:
            self._selector.register(listener, selectors.EVENT_READ)
            self._selector.register(self._wake[0], selectors.EVENT_READ)
            _log.info("listening on %s", self._config.socket_path)
            while self._serve_once(listener):
                self._tidy()
        if self._zygote is not None:
            self._zygote.end()
        self._config.socket_path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Make `run` return."""
        os.write(self._wake[1], b"s")

    def _serve_once(self, listener: socket.socket) -> bool:
        for key, _ in self._selector.select(_TICK_SECONDS):
            if key.fileobj == self._wake[0]:
                return False
            if key.fileobj is listener:
                self._accept(listener)
            elif key.fileobj is self._zygote:
                self._look_at_zygote()
            elif isinstance(key.fileobj, socket.socket):
                self._read(key.fileobj)
        return True

    def _listen(self) -> socket.socket:
        path = self._config.socket_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with socket_address(path) as address:
            listener.bind(address)
        # Anyone may knock: who it is decides, by the kernel's word.
        path.chmod(0o666)
        listener.listen(64)
        listener.setblocking(False)  # noqa: FBT003 - has no keyword
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            caller, _ = listener.accept()
            raw = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(raw)
            # Strangers get an answer too, but few at a time: they must not keep others waiting.
            room = _MAX_WAITING if self._may(uid, "probe") else _MAX_STRANGERS
            if len(self._callers) >= room:
                caller.close()
                return
            caller.setblocking(False)  # noqa: FBT003 - has no keyword
            self._callers[caller] = _Caller(pid, uid, time.monotonic() + _ASK_SECONDS)
            self._selector.register(caller, selectors.EVENT_READ)

    def _read(self, caller: socket.socket) -> None:
        who = self._forget(caller)
        try:
            data, given = receive(caller, MESSAGE_BYTES, _MAX_GIVEN)
        except OSError:
            data, given = b"", []
        # Nobody but the program's fork needs it for longer than this request.
        with contextlib.ExitStack() as stack:
            for descriptor in given:
                stack.callback(os.close, descriptor)
            self._answer(data, given[0] if given else None, caller, who)

    def _answer(
        self, data: bytes, channel: int | None, caller: socket.socket, who: _Caller
    ) -> None:
        if not data:
            caller.close()
            return
        try:
            answer = self._handle(json.loads(data), channel, caller, who)
        except (RefusedError, ServerRefusedError, ValueError, RecursionError) as error:
            _log.warning("refused uid %d: %s", who.uid, error)
            answer = {"error": str(error)}
        except OSError as error:
            _log.exception("request of uid %d failed", who.uid)
            answer = {"error": f"the broker failed: {error}"}
        if answer is None:
            caller.close()  # the keeper has it now
        else:
            _answer(caller, answer)

    def _handle(
        self, request: object, channel: int | None, caller: socket.socket, who: _Caller
    ) -> dict[str, object] | None:
        if not self._may(who.uid, "probe"):
            raise RefusedError(f"uid {who.uid} may not use the broker")
        if not isinstance(request, dict) or len(request) != 1:
            raise RefusedError("a request is an object with one name")
        [(verb, value)] = request.items()
        if not self._may(who.uid, str(verb)):
            raise RefusedError(f"uid {who.uid} may not ask for {str(verb)[:40]}")
        if verb == "probe":
            return {"report": (self._report or probe()).to_json()}
        if verb == "launch":
            self._launch(KernelRequest.from_json(value), channel, caller, who)
            return None
        if verb == "start_server":
            self._hand_over(caller)
            self._keepers.append(self._servers.start(ServerRequest.from_json(value), caller))
            return None
        return self._ask_server(str(verb), value)

    def _launch(
        self, request: KernelRequest, channel: int | None, caller: socket.socket, who: _Caller
    ) -> None:
        spec = kernel_spec(request, caller_uid=who.uid, caller_pid=_view_of(who))
        if self._config.unsafe and self._report is not None and not self._report.ok:
            spec["isolated"] = False
        self._hand_over(caller)
        if spec["program"]:
            self._fork(spec, caller, channel)
        else:
            self._keepers.append(start_keeper(spec, control=caller))

    def _fork(self, spec: Spec, caller: socket.socket, channel: int | None) -> None:
        """Hand a launch to the zygote, which is started when there is none."""
        zygote = self._zygote or self._start_zygote()
        try:
            zygote.fork(spec, caller.fileno(), channel)
        except ZygoteError as error:
            raise RefusedError(str(error)) from error

    def _start_zygote(self) -> ZygoteProcess:
        self._zygote = zygote = ZygoteProcess()
        self._selector.register(zygote, selectors.EVENT_READ)
        return zygote

    def _look_at_zygote(self) -> None:
        """Take what the zygote says; when its nursery has ended, start another."""
        zygote = self._zygote
        if zygote is None:
            return
        zygote.read()
        if zygote.problem:
            _log.warning("the zygote cannot start: %s", zygote.problem)
        if zygote.has_ended:
            _log.warning("the zygote's nursery has ended and is started again")
            self._selector.unregister(zygote)
            self._start_zygote()

    def _ask_server(self, verb: str, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise RefusedError("name the server")
        username = check_username(value.get("username"))
        server_name = check_server_name(value.get("server_name"))
        if verb == "poll_server":
            state = self._servers.poll(username, server_name)
        else:
            state = self._servers.stop(username, server_name, now=value.get("now") is True)
        return {"server": state.to_json()}

    def _may(self, uid: int, verb: str) -> bool:
        config = self._config
        allowed = {
            "probe": {config.worker_uid, config.hub_uid, *config.other_uids},
            "launch": {config.worker_uid},
            "start_server": {config.hub_uid},
            "poll_server": {config.hub_uid},
            "stop_server": {config.hub_uid},
        }.get(verb)
        # Our own user is root, or on a person's own machine everyone there is.
        return allowed is not None and uid in {0, os.geteuid(), *allowed}

    def _hand_over(self, caller: socket.socket) -> None:
        caller.setblocking(True)  # noqa: FBT003 - has no keyword

    def _forget(self, caller: socket.socket) -> _Caller:
        self._selector.unregister(caller)
        return self._callers.pop(caller)

    def _tidy(self) -> None:
        now = time.monotonic()
        for caller in [caller for caller, who in self._callers.items() if now > who.until]:
            self._forget(caller)
            caller.close()
        ended = [keeper for keeper in self._keepers if keeper.poll() is not None]
        self._keepers = [keeper for keeper in self._keepers if keeper.returncode is None]
        if any(keeper.returncode < 0 for keeper in ended):
            # A killed keeper could not remove its control group.
            cgroups.sweep(cgroups.detect())


def _view_of(who: _Caller) -> int:
    """Return the caller's pid when it lives in a mount namespace of its own, else 0."""
    if os.geteuid() != 0:
        return 0
    try:
        theirs = os.stat(f"/proc/{who.pid}/ns/mnt")
        with open(f"/proc/{who.pid}/status", encoding="utf-8") as file:
            uids = next(line.split() for line in file if line.startswith("Uid:"))
    except (OSError, StopIteration) as error:
        raise RefusedError("the caller has gone") from error
    # The pid is from when the caller connected; it must still be that user's process.
    if str(who.uid) not in uids[1:]:
        raise RefusedError("the caller has gone")
    ours = os.stat("/proc/self/ns/mnt")
    return 0 if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) else who.pid


def _answer(caller: socket.socket, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        caller.send(json.dumps(answer).encode())
    caller.close()


def serve(config: BrokerConfig) -> None:
    """Run a broker in this process until SIGTERM or SIGINT."""
    broker = Broker(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: broker.stop())
    broker.run()
