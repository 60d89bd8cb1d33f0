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
import subprocess
import threading
import time
from dataclasses import replace

from lms.outposts.broker import cgroups
from lms.outposts.broker.config import LEASE_VERBS, BrokerConfig, may
from lms.outposts.broker.descriptors import receive
from lms.outposts.broker.door import ASK_SECONDS, MAX_GIVEN, Caller, Door, Doors, listen
from lms.outposts.broker.fleet import Fleet
from lms.outposts.broker.forks import KERNELS, SERVERS
from lms.outposts.broker.homes import Homes, tell_full
from lms.outposts.broker.inventory import read_inventory
from lms.outposts.broker.lateness import allow_hurry, hurried
from lms.outposts.broker.launcher import (
    MESSAGE_BYTES,
    add_environment,
    kernel_spec,
    start_keeper,
)
from lms.outposts.broker.leases import Leases, read_grant
from lms.outposts.broker.probe import probe
from lms.outposts.broker.refusals import Refusals
from lms.outposts.broker.server_kernels import KernelRefusedError, ServerKernels
from lms.outposts.broker.servers import NoRoomError, ServerRefusedError, Servers
from lms.outposts.broker.spec import Spec
from lms.outposts.broker.zygotes import ZygoteError, ZygoteProcess
from lms.outposts.environments.folder import EnvironmentMissingError
from lms.protocol.broker import (
    KernelRequest,
    SandboxReport,
    ServerKernelRequest,
    ServerRequest,
    check_server_name,
    check_username,
)
from lms.protocol.devices import Inventory
from lms.protocol.sentences import sentence

_log = logging.getLogger(__name__)
#: Callers of one uid who have not said yet what they want.
_MAX_OF_ONE = 128
_MAX_OF_STRANGER = 4
#: How often doors are looked at.
_DOOR_SECONDS = 30.0
_TICK_SECONDS = 1.0


class RefusedError(Exception):
    """The caller may not ask this, or asked nonsense; the text goes back."""


_STARTING_VERBS = ("launch", "server_kernel", "start_server")
_REFUSALS = (RefusedError, ServerRefusedError, KernelRefusedError, ValueError, RecursionError)


class Broker:
    """Serves requests until told to stop."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._servers = Servers(config.places)
        self._selector = selectors.DefaultSelector()
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._callers: dict[socket.socket, Caller] = {}
        self._report: SandboxReport | None = None
        self._wake = os.pipe()
        self._fleet = Fleet(self._selector)
        self._kernels = ServerKernels(config.places.state_dir)
        self._leases = Leases(config.places.state_dir, self._kernels, self._read_inventory)
        self._homes = Homes(config.places.homes_dir, config.places.state_dir)
        #: When leases and doors are looked at next.
        self._look_at = self._doors_at = 0.0
        self._doors = self._make_doors()
        self._refusals = Refusals()
        #: One request at a time, from whichever thread.
        self._turn = threading.Lock()

    def run(self) -> None:
        """Listen until SIGTERM or `stop`; servers and kernels that run go on."""
        cgroups.sweep(cgroups.detect())
        if self._config.zygote_at_start:
            self._fleet.start(KERNELS)
            if self._config.places.forks:
                self._fleet.start(SERVERS)
        self._report = probe()
        with contextlib.ExitStack() as stack:
            self._config.socket_path.parent.mkdir(parents=True, exist_ok=True)
            listener = stack.enter_context(listen(self._config.socket_path, queue=64))
            self._selector.register(listener, selectors.EVENT_READ)
            if self._doors is not None:
                stack.callback(self._doors.close)
                for uid in self._kernels.list_owners():
                    self._doors.open_for(uid)
            self._selector.register(self._wake[0], selectors.EVENT_READ)
            _log.info("listening on %s", self._config.socket_path)
            while self._serve_once(listener):
                with self._turn:
                    self._tidy()
        self._fleet.end()
        self._homes.end()
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
            elif self._doors is not None and isinstance(key.fileobj, Door):
                self._doors.accept(key.fileobj)
            elif isinstance(key.fileobj, ZygoteProcess):
                with self._turn:
                    self._fleet.look(key.fileobj)
            elif isinstance(key.fileobj, socket.socket):
                self._read(key.fileobj)
        return True

    def _make_doors(self) -> Doors | None:
        """Return where servers ask for kernels; only root can put those into their sandboxes."""
        folder = self._config.places.asking_dir
        if folder is None or os.geteuid() != 0:
            return None
        return Doors(folder, self._selector, self._answer)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            caller, _ = listener.accept()
            who = Caller.of(caller, is_server=False, until=time.monotonic() + ASK_SECONDS)
            # Strangers get an answer too, but few at a time; nobody takes the others' places.
            room = _MAX_OF_ONE if self._may(who.uid, "probe") else _MAX_OF_STRANGER
            if sum(one.uid == who.uid for one in self._callers.values()) >= room:
                with hurried():
                    caller.close()
                return
            caller.setblocking(False)  # noqa: FBT003 - has no keyword
            self._callers[caller] = who
            self._selector.register(caller, selectors.EVENT_READ)

    def _read(self, caller: socket.socket) -> None:
        who = self._forget(caller)
        # Nobody but the program's fork needs what is given for longer than this request.
        given: list[int] = []
        try:
            with hurried():
                data, given = _receive(caller)
            self._answer(data, given[0] if given else None, caller, who)
        finally:
            with hurried(), caller:
                for descriptor in given:
                    os.close(descriptor)

    def _answer(self, data: bytes, channel: int | None, caller: socket.socket, who: Caller) -> None:
        """Answer a request; the line stays open for whoever has it to close."""
        if not data:
            return
        try:
            request = json.loads(data)
            with self._turn:
                answer = self._handle(request, channel, caller, who)
        except _REFUSALS as error:
            self._refusals.tell(who.uid, str(error))
            answer = {"error": str(error), "full": isinstance(error, NoRoomError)}
        except OSError as error:
            _log.exception("request of uid %d failed", who.uid)
            answer = {"error": f"the broker failed: {error}"}
        if answer is not None:  # else the keeper has the line now
            with contextlib.suppress(OSError):
                caller.send(json.dumps(answer).encode())

    def _handle(
        self, request: object, channel: int | None, caller: socket.socket, who: Caller
    ) -> dict[str, object] | None:
        if not who.is_server and not self._may(who.uid, "probe"):
            raise RefusedError(f"uid {who.uid} may not use the broker")
        if not isinstance(request, dict) or len(request) != 1:
            raise RefusedError("a request is an object with one name")
        [(verb, value)] = request.items()
        if who.is_server != (verb == "server_kernel") or not self._may(who.uid, str(verb)):
            raise RefusedError(f"uid {who.uid} may not ask for {str(verb)[:40]}")
        if verb in _STARTING_VERBS:
            self._start_wanted(str(verb), value, channel, caller, who)
            return None
        if verb == "probe":
            return {"report": self._probe().to_json()}
        if verb == "homes":
            return {"homes": [use.to_json() for use in self._homes.list_uses()]}
        if verb in LEASE_VERBS:
            return self._ask_leases(str(verb), value, caller)
        return self._ask_server(str(verb), value)

    def _start_wanted(
        self,
        verb: str,
        value: object,
        channel: int | None,
        caller: socket.socket,
        who: Caller,
    ) -> None:
        """Start what is wanted; the caller's line goes to its keeper."""
        if verb == "launch":
            self._launch(KernelRequest.from_json(value), channel, caller, who)
        elif verb == "server_kernel":
            wanted = ServerKernelRequest.from_json(value)
            spec = self._kernels.plan(wanted, uid=who.uid, pid=who.pid)
            if wanted.lease:
                spec["devices"], more = self._leases.nodes_for(wanted.lease, spec["uid"])
                spec["env"] = spec["env"] | more
            packages = self._add_environment(spec, wanted.environment)
            if not self._fleet.has_room(packages):
                raise KernelRefusedError("kernels of too many environments start at once")
            self._start(spec, KERNELS, caller, channel, packages=packages)
        else:
            wish = ServerRequest.from_json(value)
            spec = self._servers.plan(wish)
            self._homes.allow(wish)
            if self._doors is not None:
                self._doors.open_for(wish.uid)
            self._start(spec, SERVERS, caller, None)

    def _ask_leases(
        self, verb: str, value: object, caller: socket.socket
    ) -> dict[str, object] | None:
        if verb == "inventory":
            return self._leases.inventory().to_json()
        if verb == "leases":
            return {"leases": [lease.to_json() for lease in self._leases.list_running()]}
        if verb == "grant":
            self._leases.grant(read_grant(value))
            return {"granted": True}
        if not isinstance(value, dict) or not isinstance(value.get("lease"), str):
            raise RefusedError("name the lease")
        with contextlib.ExitStack() as stack:
            line = stack.enter_context(caller.dup())
            self._leases.revoke(value["lease"], lambda problem: _tell_revoked(line, problem))
            stack.pop_all()
        return None

    def _read_inventory(self) -> Inventory:
        config = self._config
        return read_inventory(simulated=config.simulated_gpus, time_slices=config.gpu_time_slices)

    def _launch(
        self, request: KernelRequest, channel: int | None, caller: socket.socket, who: Caller
    ) -> None:
        spec = kernel_spec(request, caller_uid=who.uid, caller_pid=_view_of(who))
        packages = self._add_environment(spec, request.environment)
        if self._config.unsafe and self._report is not None and not self._report.ok:
            spec["isolated"] = False
        self._start(spec, KERNELS, caller, channel, packages=packages)

    def _add_environment(self, spec: Spec, environment: str) -> str:
        """Let `spec` have an environment; return the folder that its zygote imports from."""
        try:
            return add_environment(spec, environment, self._config.places.environments_dir)
        except EnvironmentMissingError as error:
            raise RefusedError(str(error)) from error

    def _start(
        self,
        spec: Spec,
        kind: str,
        caller: socket.socket,
        channel: int | None,
        *,
        packages: str = "",
    ) -> None:
        """Let a keeper have the caller's line: a zygote forks the program, or it is executed."""
        caller.setblocking(True)  # noqa: FBT003 - has no keyword
        if not spec["program"]:
            self._keepers.append(start_keeper(spec, control=caller))
            return
        try:
            self._fleet.fork(kind, spec, caller.fileno(), channel, packages=packages)
        except ZygoteError as error:
            raise RefusedError(str(error)) from error

    def _probe(self) -> SandboxReport:
        report = self._report or probe()
        full = tell_full(self._homes.list_uses())
        reason = self._fleet.problem(SERVERS)
        if not reason:
            return replace(report, missing=(*report.missing, *full))
        slow = sentence("Notebook servers start slowly, each by itself: %(reason)s.", reason=reason)
        return replace(report, missing=(*report.missing, slow, *full))

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
        return may(self._config, uid, verb)

    def _forget(self, caller: socket.socket) -> Caller:
        self._selector.unregister(caller)
        return self._callers.pop(caller)

    def _tidy(self) -> None:
        now = time.monotonic()
        if now > self._look_at:
            self._look_at = now + _TICK_SECONDS
            for lease in self._leases.revoke_late(time.time()):
                _log.warning("lease %s was not revoked in time and ends now", lease)
        for caller in [caller for caller, who in self._callers.items() if now > who.until]:
            self._forget(caller)
            with hurried():
                caller.close()
        self._look_at_doors(now)
        self._homes.tick(now)
        ended = [keeper for keeper in self._keepers if keeper.poll() is not None]
        self._keepers = [keeper for keeper in self._keepers if keeper.returncode is None]
        if any(keeper.returncode < 0 for keeper in ended):
            # A killed keeper could not remove its control group.
            cgroups.sweep(cgroups.detect())

    def _look_at_doors(self, now: float) -> None:
        if self._doors is None:
            return
        self._doors.hurry()
        if now > self._doors_at:
            self._doors_at = now + _DOOR_SECONDS
            self._doors.keep_for(self._kernels.list_owners())


def _receive(caller: socket.socket) -> tuple[bytes, list[int]]:
    try:
        return receive(caller, MESSAGE_BYTES, MAX_GIVEN)
    except OSError:
        return b"", []


def _view_of(who: Caller) -> int:
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


def _tell_revoked(line: socket.socket, problem: str) -> None:
    answer: dict[str, object] = {"error": problem} if problem else {"revoked": True}
    with line, contextlib.suppress(OSError):
        line.send(json.dumps(answer).encode())


def serve(config: BrokerConfig) -> None:
    """Run a broker in this process until SIGTERM or SIGINT."""
    broker = Broker(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: broker.stop())
    allow_hurry()
    broker.run()
