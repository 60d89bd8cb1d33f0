"""The relay between a kernel's sockets and ours."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.outposts.runner.relay import Relay

LIMIT = 100_000


class Pair:
    """A relay over one port, with a listening kernel behind it."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.theirs = folder / "o", folder / "t"
        self.ours.mkdir()
        self.theirs.mkdir()
        self.exceeded = threading.Event()
        self.relay = Relay(self.ours, self.theirs, [1], LIMIT, self.exceeded.set)
        self.relay.start()

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.theirs / "s-1"))
        listener.listen()
        listener.settimeout(5)
        return listener

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.ours / "s-1"))
        client.settimeout(5)
        return client


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("r"))
    yield pair
    pair.relay.stop()


def test_bytes_go_both_ways_also_when_the_kernel_comes_late(pair: Pair) -> None:
    with pair.connect() as client:
        client.sendall(b"hello")
        time.sleep(0.05)
        with pair.listen() as listener, listener.accept()[0] as kernel:
            kernel.settimeout(5)
            assert kernel.recv(5) == b"hello"
            kernel.sendall(b"world")
            assert client.recv(5) == b"world"


def test_much_data_arrives_whole_and_in_order(pair: Pair) -> None:
    sent = bytes(range(256)) * 20_000
    with pair.listen() as listener, pair.connect() as client, listener.accept()[0] as kernel:
        kernel.settimeout(5)
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        received = bytearray()
        while len(received) < len(sent):
            received += kernel.recv(1 << 16)
        sender.join()
        assert received == sent
        assert not pair.exceeded.is_set()


def test_a_kernel_that_sends_too_much_is_cut_off_and_told_on(pair: Pair) -> None:
    with pair.listen() as listener, pair.connect() as client, listener.accept()[0] as kernel:
        kernel.settimeout(5)
        with contextlib.suppress(OSError):
            for _ in range(100):
                kernel.sendall(b"x" * LIMIT)
        assert pair.exceeded.wait(5)
        assert pair.relay.is_exceeded
        total = 0
        while data := client.recv(1 << 20):
            total += len(data)
        assert total <= 10 * LIMIT


def test_the_end_of_one_side_ends_the_other(pair: Pair) -> None:
    with pair.listen() as listener, pair.connect() as client:
        listener.accept()[0].close()
        assert client.recv(1) == b""


def test_a_link_in_place_of_the_socket_is_not_followed(pair: Pair, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as broker:
        path = pair.ours / "broker"
        broker.bind(str(path))
        broker.listen()
        broker.settimeout(0.3)
        (pair.theirs / "s-1").symlink_to(path)
        with pair.connect(), pytest.raises(TimeoutError):
            broker.accept()


def test_a_file_in_place_of_the_socket_is_left_alone(pair: Pair) -> None:
    (pair.theirs / "s-1").write_text("no socket")
    with pair.connect() as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
