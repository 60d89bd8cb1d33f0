"""Asks the broker about notebook servers and sandboxes; for Hub, worker and status pages."""

import json
import os
import select
import socket
import time
from typing import Any

from lms.outposts.broker.address import socket_address
from lms.outposts.broker.launcher import MESSAGE_BYTES
from lms.protocol.broker import SandboxReport, ServerRequest, ServerState
from lms.protocol.disk import HomeUse

_ANSWER_SECONDS = 30.0
#: A server may have to wait for the zygote it is forked from.
_START_SECONDS = 85.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


class BrokerUnavailableError(Exception):
    """The broker does not answer; the text says why."""


class BrokerSilentError(BrokerUnavailableError):
    """The broker, or whom it gave the question to, went away without a word."""


class BrokerRefusedError(Exception):
    """The broker will not do this; the text says why."""


class BrokerFullError(BrokerRefusedError):
    """The machine has no room now; the text says of what."""


class BrokerClient:
    """One question a connection; safe in threads. Every method raises the two errors above."""

    def __init__(self, socket_path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(socket_path)

    def probe(self) -> SandboxReport:
        """Return what the broker found at its start that sandboxes have here."""
        return SandboxReport.from_json(self._ask({"probe": {}}).get("report"))

    def start_server(self, request: ServerRequest) -> int:
        """Start a notebook server and return its keeper's pid."""
        question: dict[str, object] = {"start_server": request.to_json()}
        try:
            answer = self._ask(question, _START_SECONDS)
        except BrokerSilentError:
            # A zygote can die with a launch in its hands; there will be another.
            answer = self._ask(question, _START_SECONDS)
        return int(answer["started"]["pid"])

    def poll_server(self, username: str, server_name: str = "") -> ServerState:
        """Return whether the server runs, and how it ended if it does not."""
        question = {"username": username, "server_name": server_name}
        return ServerState.from_json(self._ask({"poll_server": question}).get("server"))

    def stop_server(
        self, username: str, server_name: str = "", *, now: bool = False
    ) -> ServerState:
        """End the server and return how it ended; returns when it has gone."""
        question = {"username": username, "server_name": server_name, "now": now}
        end = time.monotonic() + _STOP_SECONDS
        state = ServerState.from_json(self._ask({"stop_server": question}).get("server"))
        while state.running:
            if time.monotonic() > end:
                self._ask({"stop_server": {**question, "now": True}})
            time.sleep(_POLL_SECONDS)
            state = self.poll_server(username, server_name)
        return state

    def list_homes(self) -> list[HomeUse]:
        """Return how full people's homes are, as far as that is known."""
        found = self._ask({"homes": {}}).get("homes")
        try:
            return [HomeUse.from_json(one) for one in found or ()]
        except ValueError as error:
            raise BrokerRefusedError(f"the broker's answer cannot be read: {error}") from error

    def _ask(self, question: dict[str, object], seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            try:
                with socket_address(self._path) as address:
                    line.connect(address)
                line.send(json.dumps(question).encode())
                poll = select.poll()
                poll.register(line, select.POLLIN)
                data = line.recv(MESSAGE_BYTES) if poll.poll(seconds * 1000) else None
            except OSError as error:
                raise BrokerUnavailableError(f"the broker does not answer: {error}") from error
        if data is None:
            raise BrokerUnavailableError("the broker does not answer")
        if not data:
            raise BrokerSilentError("the broker does not answer")
        answer: dict[str, Any] = json.loads(data)
        problem = answer.get("error") or answer.get("failed")
        if problem and answer.get("full"):
            raise BrokerFullError(str(problem))
        if problem:
            raise BrokerRefusedError(str(problem))
        return answer
