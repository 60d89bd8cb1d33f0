"""Receives and closes descriptors so that none stays open or reaches a child by accident."""

import array
import os
import socket
from collections.abc import Iterable

_LAST_DESCRIPTOR = 1 << 20


def receive(line: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive a message of up to `size` bytes with up to `most` descriptors, closed by an exec.

    socket.recv_fds would leave them open. Whoever calls owns them; more than `most` are closed.
    Nothing at all means that the other end has gone.
    """
    numbers = array.array("i")
    room = socket.CMSG_LEN(most * numbers.itemsize)
    try:
        data, ancillary, _, _ = line.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it went with something of ours unread
        return b"", []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    for number in numbers[most:]:
        os.close(number)
    return data, list(numbers[:most])


def send(line: socket.socket, data: bytes, numbers: list[int], flags: int = 0) -> None:
    """Send a message with descriptors; socket.send_fds would forget the flags."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))
    line.sendmsg([data], [rights], flags)


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `kept`."""
    first = 0
    for descriptor in sorted(set(kept)):
        if first < descriptor:  # an empty range means all of them to os.closerange
            os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _LAST_DESCRIPTOR)
