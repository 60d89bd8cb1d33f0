"""Stands between Jupyter's clients and a kernel elsewhere, so that the kernel may move.

Clients talk to sockets in a folder of ours, which stay the same for as long as the notebook is
open; behind them the kernel may be on this machine, on a node over CurveZMQ, or, after that node
was lost, on another. And it can say a sentence in the notebook for a kernel that no longer can.
"""

import json
import os
import queue
import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.session import Session

#: Clients' side, kernel's side.
_CHANNELS = {
    "shell": (zmq.ROUTER, zmq.DEALER),
    "control": (zmq.ROUTER, zmq.DEALER),
    "stdin": (zmq.ROUTER, zmq.DEALER),
    "hb": (zmq.ROUTER, zmq.DEALER),
    "iopub": (zmq.XPUB, zmq.XSUB),
}
#: Messages that a slow reader may leave waiting; ten times what a kernel itself keeps.
_QUEUED = 10_000
_DELIMITER = b"<IDS|MSG>"


class Relay:
    """One kernel's five channels; runs in a thread of its own until it is closed."""

    def __init__(self, curve: tuple[bytes, bytes]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lms-relay-"))
        self.key = secrets.token_hex(16).encode()
        #: Where clients connect.
        self.info: dict[str, Any] = {
            "transport": "ipc",
            "ip": str(self.folder / "s"),
            "key": self.key,
            "signature_scheme": "hmac-sha256",
            **{f"{name}_port": number for number, name in enumerate(_CHANNELS, 1)},
        }
        self._curve = curve
        self._context = zmq.Context()
        self._orders: queue.SimpleQueue[Mapping[str, Any] | str | None] = queue.SimpleQueue()
        # Rung from any thread, which a ZMQ socket could not be.
        self._bell = os.eventfd(0)
        # The kernel's side of shell and stdin must bear one name: the kernel asks for input from
        # whoever sent the cell.
        self._name = secrets.token_hex(8).encode()
        self._notices: list[str] = []
        #: Headers of the cells that have no reply yet, in order, by their ids.
        self._cells: dict[str, dict[str, Any]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kernel-relay", daemon=True)
        self._thread.start()
        self._ready.wait()

    def connect(self, place: Mapping[str, Any]) -> None:
        """Lead the channels to a kernel that listens at `place`, and from any earlier one."""
        self._order(place)

    def say(self, text: str) -> None:
        """Print `text` in the cell that runs, or in the next one that is run."""
        self._order(text)

    def restore(self) -> None:
        """Give the clients' sockets their names back, which whoever cleans up may have removed."""
        for path in self.folder.glob("kept-*"):
            name = self.folder / path.name.replace("kept", "s")
            if not name.exists():
                name.hardlink_to(path)

    def close(self) -> None:
        """End the thread and remove the folder."""
        if self._thread.is_alive():
            self._order(None)
            self._thread.join(5)
        os.close(self._bell)
        self._context.term()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _order(self, order: Mapping[str, Any] | str | None) -> None:
        self._orders.put(order)
        os.eventfd_write(self._bell, 1)

    # What follows runs in the thread, which alone touches the channels' sockets.

    def _run(self) -> None:
        self._fronts = {name: self._bind(name) for name in _CHANNELS}
        self._backs: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._poller.register(self._bell, zmq.POLLIN)
        for front in self._fronts.values():
            self._poller.register(front, zmq.POLLIN)
        self._ready.set()
        while self._serve():
            pass
        for socket in (*self._fronts.values(), *self._backs.values()):
            socket.close(0)

    def _serve(self) -> bool:
        ready = dict(self._poller.poll())
        if self._bell in ready:
            os.eventfd_read(self._bell)
            return self._obey()
        for name in _CHANNELS:
            back = self._backs.get(name)
            if back is not None and back in ready:
                self._to_clients(name, back)
            if self._fronts[name] in ready:
                self._to_kernel(name, back)
        return True

    def _obey(self) -> bool:
        while not self._orders.empty():
            order = self._orders.get()
            if order is None:
                return False
            if isinstance(order, str):
                self._notices.append(order)
                self._show_notices()
            else:
                self._lead_to(order)
        return True

    def _to_clients(self, name: str, back: "zmq.Socket[bytes]") -> None:
        frames = back.recv_multipart()
        if name == "shell":
            parent = _header(frames, 3)
            self._cells.pop(str(parent.get("msg_id")), None)
        self._fronts[name].send_multipart(frames)

    def _to_kernel(self, name: str, back: "zmq.Socket[bytes] | None") -> None:
        frames = self._fronts[name].recv_multipart()
        if name == "shell":
            self._note_cell(frames)
        # Without a kernel there is nobody to hear it, and clients ask again after a restart.
        if back is not None:
            back.send_multipart(frames)

    def _note_cell(self, frames: list[bytes]) -> None:
        header = _header(frames, 2)
        if header.get("msg_type") == "execute_request":
            self._cells[str(header.get("msg_id"))] = header
            self._show_notices()

    def _show_notices(self) -> None:
        if not self._cells:
            return
        session = Session(key=self.key)
        parent = {"header": next(iter(self._cells.values()))}
        for text in self._notices:
            content = {"name": "stderr", "text": text + "\n"}
            session.send(
                self._fronts["iopub"], "stream", content, parent=parent, ident=b"kernel.stream"
            )
        self._notices.clear()

    def _lead_to(self, place: Mapping[str, Any]) -> None:
        for back in self._backs.values():
            self._poller.unregister(back)
            back.close(0)
        self._cells.clear()
        self._backs = {name: self._connect(name, place) for name in _CHANNELS}
        for back in self._backs.values():
            self._poller.register(back, zmq.POLLIN)
        # Clients have subscribed long ago; the new kernel has to hear of it.
        self._backs["iopub"].send(b"\x01")

    def _bind(self, name: str) -> "zmq.Socket[bytes]":
        front = self._context.socket(_CHANNELS[name][0])
        front.linger = 1000
        front.sndhwm = front.rcvhwm = _QUEUED
        if front.type == zmq.XPUB:
            # Every subscription reaches the kernel, which welcomes each.
            front.xpub_verbose = True
        else:
            front.router_handover = True
        number = self.info[f"{name}_port"]
        front.bind(f"ipc://{self.info['ip']}-{number}")
        (self.folder / f"kept-{number}").hardlink_to(self.folder / f"s-{number}")
        return front

    def _connect(self, name: str, place: Mapping[str, Any]) -> "zmq.Socket[bytes]":
        back = self._context.socket(_CHANNELS[name][1])
        back.linger = 1000
        back.sndhwm = back.rcvhwm = _QUEUED
        if back.type == zmq.DEALER:
            back.identity = self._name
        port = place[f"{name}_port"]
        if place["transport"] == "tcp":
            public, secret = self._curve
            back.curve_publickey, back.curve_secretkey = public, secret
            # Who has not the secret key of this very kernel gets nothing from us.
            back.curve_serverkey = public
            back.connect(f"tcp://{place['ip']}:{port}")
        else:
            back.connect(f"{place['transport']}://{place['ip']}-{port}")
        return back


def _header(frames: list[bytes], place: int) -> dict[str, Any]:
    """Return the JSON object `place` frames behind the delimiter; an empty one if there is none."""
    try:
        header = json.loads(frames[frames.index(_DELIMITER) + place])
    except (ValueError, IndexError):
        return {}
    return header if isinstance(header, dict) else {}
