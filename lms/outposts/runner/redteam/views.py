"""Everything readable in a file: its text, and what is behind base64, hex, zlib, zip and reversal.

Bounded: a file that unpacks to more than it should is read so far and no further.
"""

import base64
import binascii
import codecs
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

#: Read of a file, and of what was unpacked from it.
_BYTES = 8 << 20
_UNPACKED = 1 << 20
_DEPTH = 2
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){12,}")
_NUL = 0
#: zlib's and gzip's first bytes.
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")


@dataclass(frozen=True, slots=True)
class View:
    """A text that a student could get at: where in the file, and by what means (empty: none)."""

    place: str
    how: str
    text: str


def views(path: str, content: bytes) -> Iterator[View]:
    """Yield every text in a file, the parts of a notebook one by one."""
    notebook = _notebook(content) if path.endswith(".ipynb") else None
    if notebook is None:
        yield from _of_bytes(path, "", content[:_BYTES], _DEPTH)
        return
    for index, cell in enumerate(notebook["cells"], start=1):
        if isinstance(cell, dict):
            for key, value in cell.items():
                yield from _of_value(f"{path}, cell {index}, {key}", value)
    others = {key: value for key, value in notebook.items() if key != "cells"}
    yield from _of_value(f"{path}, metadata", others)


def _notebook(content: bytes) -> dict[str, list[object]] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(value, dict) and isinstance(value.get("cells"), list)
    return value if is_one else None


def _of_value(place: str, value: object) -> Iterator[View]:
    """Yield the texts in a JSON value; lists of strings are lines of one text."""
    if isinstance(value, str):
        yield from _of_text(place, "", value, _DEPTH)
    elif isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        yield from _of_text(place, "", "".join(value), _DEPTH)
    elif isinstance(value, list):
        for item in value:
            yield from _of_value(place, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _of_text(place, "", str(key), _DEPTH)
            yield from _of_value(place, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield View(place, "", repr(value))


def _of_text(place: str, how: str, text: str, depth: int) -> Iterator[View]:
    yield View(place, how, text)
    if depth == 0:
        return
    yield View(place, _then(how, "reversed"), text[::-1])
    yield View(place, _then(how, "rot13"), codecs.encode(text, "rot13"))
    # Encoders break lines; what they wrote is one word without them.
    joined = re.sub(r"[\r\n]+", "", text)
    for form in {text, joined}:
        for match in _BASE64.finditer(form):
            word = match.group()[:_UNPACKED]
            yield from _decoded(place, _then(how, "base64"), _from_base64(word), depth)
        for match in _HEX.finditer(form):
            word = match.group()[:_UNPACKED]
            yield from _decoded(place, _then(how, "hex"), bytes.fromhex(word), depth)


def _decoded(place: str, how: str, content: bytes, depth: int) -> Iterator[View]:
    if content:
        yield from _of_bytes(place, how, content, depth - 1)


def _of_bytes(place: str, how: str, content: bytes, depth: int) -> Iterator[View]:
    encoding = "utf-16" if _NUL in content[:200] and content[:2] == b"\xff\xfe" else "utf-8"
    yield from _of_text(place, how, content.decode(encoding, "replace"), depth)
    if content.startswith(_ZLIB):
        unpacked = _inflated(content)
        if unpacked:
            yield from _of_bytes(place, _then(how, "zlib"), unpacked, max(depth - 1, 0))
    elif content.startswith(b"PK\x03\x04"):
        for name, member in _members(content):
            yield from _of_bytes(f"{place}, {name}", _then(how, "zip"), member, max(depth - 1, 0))


def _then(how: str, also: str) -> str:
    return f"{how}, {also}" if how else also


def _from_base64(text: str) -> bytes:
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    # A word that stands before the code shifts it by up to three letters.
    plain = plain[: len(plain) - len(plain) % 4] if len(plain) % 4 == 1 else plain
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        return b""


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(content, _UNPACKED)
    except zlib.error:
        return b""


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            left = 8 * _UNPACKED
            for entry in archive.infolist()[:1000]:
                if entry.file_size <= left and not entry.is_dir() and not entry.flag_bits & 1:
                    left -= entry.file_size
                    yield entry.filename, archive.read(entry)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, zlib.error):
        return
