"""Finished pieces of feedback pages, kept: a class hands in the same cells over and over.

Whole cells are kept by all that is shown of them. A cell that is new is put together twice: first
nbgrader's template writes it with a token where each piece belongs, and that is sanitised; then the
pieces, sanitised one by one and balanced, take the tokens' places. A page is made of its cells in
the same way. So it costs what is new in it.
"""

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

#: Memory for pieces in one process, and the largest one that is kept, in characters.
_KEPT = 32 << 20
_LARGEST = 512 << 10


class Store:
    """The pieces last used, by what they were made of; may be used from several threads."""

    def __init__(self, kept: int = _KEPT, largest: int = _LARGEST) -> None:
        self._kept = kept
        self._largest = largest
        self._size = 0
        self._pieces: OrderedDict[tuple[Hashable, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, kind: Hashable, source: str, make: Callable[[], str]) -> str:
        """Return the piece that `make` makes of `source`, made now or before."""
        if len(source) > self._largest:
            return make()
        key = (kind, source)
        with self._lock:
            piece = self._pieces.get(key)
            if piece is not None:
                self._pieces.move_to_end(key)
                return piece
        piece = make()
        if len(piece) <= self._largest:
            self._keep(key, piece, len(source) + len(piece))
        return piece

    def _keep(self, key: tuple[Hashable, str], piece: str, size: int) -> None:
        with self._lock:
            if key in self._pieces:
                return
            self._pieces[key] = piece
            self._size += size
            while self._size > self._kept:
                (_, source), old = self._pieces.popitem(last=False)
                self._size -= len(source) + len(old)


class Tokens:
    """The tokens of one page; nobody who writes a notebook can know them."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(8)
        self._pieces: list[str] = []

    def put(self, piece: str) -> str:
        """Return a token to write where `piece` belongs."""
        self._pieces.append(piece)
        return f"[{self._secret}:{len(self._pieces) - 1}]"

    def fill(self, markup: str) -> str:
        """Return `markup` with every piece in its place."""
        return self._pattern().sub(lambda token: self._pieces[int(token[1])], markup)

    def split(self, markup: str) -> list[str]:
        """Return what stands around the tokens, which are in their order."""
        return self._pattern().split(markup)[::2]

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"\[{self._secret}:(\d+)\]")
