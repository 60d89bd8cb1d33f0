"""How questions and answers of the split run are written: JSON and blobs in parcels.

The content travels as the first blob of a frame: a header has to stay small, a table need not.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from lms.outposts.kernels.values import BrokenValueError, Decoder, Encoder, Node

Content = dict[str, Any]


class Parcel:
    """Values for one message, each with an encoder of its own; pair it with `opened`."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []

    def add(self, node: Node, encoder: Encoder) -> Node:
        """Return a node together with where its bytes are."""
        first = len(self._blobs)
        self._blobs += encoder.blobs
        return [node, first, len(encoder.blobs)]

    def written(self, content: Content) -> list[bytes]:
        """Return the blobs of a frame."""
        return [json.dumps(content, allow_nan=False).encode(), *self._blobs]


def read(blobs: Sequence[bytes]) -> Content:
    """Return the content of a message; raises BrokenValueError."""
    try:
        content = json.loads(blobs[0])
    except (ValueError, IndexError, RecursionError) as error:
        raise BrokenValueError("not a message") from error
    if type(content) is not dict:
        raise BrokenValueError("not a message")
    return content


def opened(
    packed: Node,
    blobs: Sequence[bytes],
    foreign: Callable[[Decoder, Sequence[Any]], Any],
    known: Sequence[object] = (),
) -> tuple[Node, Decoder]:
    """Return a node of a parcel and the decoder for it; raises BrokenValueError."""
    if type(packed) is not list or len(packed) != 3:  # noqa: PLR2004 (a node, a place, a number)
        raise BrokenValueError("not a parcel")
    node, first, count = packed
    if type(first) is not int or type(count) is not int or first < 0 or count < 0:
        raise BrokenValueError("not a parcel")
    return node, Decoder(blobs[1 + first : 1 + first + count], foreign, known)
