"""Frames: what one end sends the other receives, and nothing that is said badly gets through."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.outposts.kernels.frames import (
    Header,
    Line,
    LineBrokenError,
    LineClosedError,
    LineFloodError,
    pack,
    unpack,
)

Pair = tuple[Line, socket.socket]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours, limit_bytes=1 << 20, header_bytes=1 << 10), theirs


def _raw(head: bytes, rest: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">II", len(head) if length is None else length, len(rest)) + head + rest


@given(st.dictionaries(st.text(), _JSON, max_size=4), st.lists(st.binary(), max_size=4))
def test_a_frame_arrives_as_it_was_sent(header: Header, blobs: list[bytes]) -> None:
    header.pop("blobs", None)
    assert unpack(pack(header, blobs)) == (header, blobs)


def test_frames_arrive_one_after_the_other(pair: Pair) -> None:
    line, theirs = pair
    other = Line(theirs, limit_bytes=1 << 20)
    for number in range(3):
        other.send({"id": number}, [b"x" * number])
    for number in range(3):
        assert line.receive(1) == ({"id": number}, [b"x" * number])
    assert not line.has_more
    line.send({"text": "빛 \ud800"})
    assert other.receive(1) == ({"text": "빛 \ud800"}, [])


def test_a_frame_larger_than_the_sockets_buffer_arrives() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiving = Line(ours, limit_bytes=1 << 24)
        blob = bytes(range(256)) * (1 << 14)
        sender = threading.Thread(
            target=Line(theirs, limit_bytes=0).send, args=({"a": 1}, [blob]), daemon=True
        )
        sender.start()
        assert receiving.receive(20) == ({"a": 1}, [blob])
        sender.join()


def test_silence_ends_in_time_and_the_rest_of_a_frame_may_come_later(pair: Pair) -> None:
    line, theirs = pair
    frame = pack({"id": 1}, [b"blob"])
    theirs.sendall(frame[:9])
    begun = monotonic()
    with pytest.raises(TimeoutError):
        line.receive(0.05)
    assert monotonic() - begun < 2
    assert line.has_more
    theirs.sendall(frame[9:])
    assert line.receive(1) == ({"id": 1}, [b"blob"])


def test_a_trickle_does_not_postpone_the_end(pair: Pair) -> None:
    line, theirs = pair
    stopped = threading.Event()

    def trickle() -> None:
        for byte in pack({"id": "x" * 900}):
            if stopped.wait(0.01):
                return
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            line.receive(0.1)
    finally:
        stopped.set()
        thread.join()


def test_nobody_reading_is_no_reason_to_wait_for_ever(pair: Pair) -> None:
    line, _ = pair
    with pytest.raises(TimeoutError):
        line.send({"source": "x" * (4 << 20)}, timeout=0.1)


def test_a_closed_line_is_told(pair: Pair) -> None:
    line, theirs = pair
    theirs.close()
    with pytest.raises(LineClosedError):
        line.receive(1)
    with pytest.raises(LineClosedError):
        line.send({"id": 1})


def test_bytes_are_limited_in_all(pair: Pair) -> None:
    line, theirs = pair
    frame = pack({}, [b"x" * 1000])
    with pytest.raises(LineFloodError):  # noqa: PT012 (the limit falls somewhere in between)
        for _ in range(2000):
            theirs.sendall(frame)
            line.receive(1)
    assert line.taken_bytes > 1 << 20


def test_even_empty_frames_are_limited(pair: Pair) -> None:
    line, theirs = pair
    frame = pack({})
    with pytest.raises(LineFloodError):  # noqa: PT012 (the limit falls somewhere in between)
        for _ in range(20_000):
            theirs.sendall(frame)
            line.receive(1)


def test_a_promised_flood_is_not_waited_for(pair: Pair) -> None:
    line, theirs = pair
    theirs.sendall(struct.pack(">II", 2, (1 << 32) - 1) + b"{}")
    with pytest.raises(LineFloodError):
        line.receive(1)


BROKEN = {
    "a header too long": _raw(b"", length=(1 << 10) + 1),
    "no JSON": _raw(b"{oh"),
    "no text": _raw(b'{"a": "\xff"}'),
    "no object": _raw(b"[1]"),
    "an endless number": _raw(b'{"a": ' + b"9" * 900 + b"e999999999999999999999]"),
    "nested too deeply": _raw(b'{"a":' + b"[" * 1000 + b"}"),
    "blobs that are no list": _raw(b'{"blobs": 3}', b"abc"),
    "blobs of a negative length": _raw(b'{"blobs": [4, -1]}', b"abc"),
    "blobs of a true length": _raw(b'{"blobs": [true]}', b"a"),
    "blobs that are more": _raw(b'{"blobs": [4]}', b"abc"),
    "blobs nobody announced": _raw(b"{}", b"abc"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
def test_what_is_no_frame_is_refused(pair: Pair, data: bytes) -> None:
    line, theirs = pair
    theirs.sendall(data)
    with pytest.raises(LineBrokenError):
        line.receive(1)


def test_a_number_too_long_to_convert_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(_raw(b'{"a": ' + b"9" * 10_000 + b"}"))
        with pytest.raises(LineBrokenError):
            Line(ours, limit_bytes=1 << 20).receive(1)


def test_json_that_is_not_in_the_standard_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack({"a": float("nan")})
    assert json.loads(pack({"a": 1})[8:]) == {"a": 1}
