"""A parcel: a stretch of a journal with its signed checkpoint, over the line and on a stick alike.

Zstandard over lines: the checkpoint, the sheet (names, salts and keys, which can be erased), then
for each record its body and its details. The chain covers bodies alone; the checkpoint's digests
cover the rest, and each body commits to its details by a salted digest.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lms.centre.errors import BadParcelError
from lms.centre.rules import NOTHING, chain, compact, text_digest
from lms.foundation.errors import InvalidError
from lms.foundation.signing import Signer, read_signed
from lms.protocol.sentences import sentence

FORMAT = "seodang-checkpoint/1"
#: Records in one parcel.
MAX_RECORDS = 5_000
#: Bytes of a parcel before and after packing: what does not fit is not of our making.
MAX_BYTES, MAX_PACKED = 64 << 20, 24 << 20
_LEVEL = 12
_LINES = 2
_SALT_BYTES = 16
#: Digits of a random name.
_NAME = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record on its way."""

    seq: int
    body: str
    #: None when erased.
    details: str | None
    hash: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A parcel that agrees with itself; whose it is, `check_signature` says."""

    document: str
    checkpoint: Mapping[str, Any]
    sheet: Mapping[str, Any]
    lines: Sequence[Line]

    @property
    def centre(self) -> str:
        """The centre that it says it is from."""
        return str(self.checkpoint["centre"])

    @property
    def signature(self) -> str:
        """The checkpoint's signature, which nobody can know before it is made."""
        value: str = json.loads(self.document)["signature"]["value"]
        return value


def pack(
    signer: Signer,
    *,
    centre: str,
    epoch: int,
    first: int,
    start: str,
    sheet: Mapping[str, Any],
    records: Sequence[tuple[str, str | None]],
) -> bytes:
    """Return the parcel of `records` (body and details), which follow the hash `start`."""
    head = start
    for body, _details in records:
        head = chain(head, body)
    page = compact(sheet)
    details = "\n".join(text or "" for _body, text in records)
    checkpoint = {
        "format": FORMAT,
        "centre": centre,
        "epoch": epoch,
        "from": first,
        "to": first + len(records) - 1,
        "start": start,
        "head": head,
        "sheet": text_digest(page),
        "details": text_digest(details),
    }
    signed = compact(json.loads(signer.sign(checkpoint)))
    lines = [signed, page]
    for body, text in records:
        lines += (body, text or "")
    return zstandard.ZstdCompressor(level=_LEVEL).compress("\n".join(lines).encode())


def unpack(content: bytes) -> Parcel:
    """Read a parcel and check that all of it fits its checkpoint; raises BadParcelError."""
    try:
        lines = _unzip(content).decode().split("\n")
        document, page, rest = lines[0], lines[1], lines[2:]
        checkpoint = json.loads(document)["record"]
        bodies, details = rest[0::_LINES], rest[1::_LINES]
        _check(checkpoint, page, bodies, details)
        sheet = json.loads(page)
        _check_people(sheet["people"])
        return Parcel(
            document=document,
            checkpoint=checkpoint,
            sheet=sheet,
            lines=tuple(_follow(checkpoint, bodies, details)),
        )
    except BadParcelError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError,
            zstandard.ZstdError) as error:  # fmt: skip
        raise _damaged() from error


def check_signature(parcel: Parcel, keys: Mapping[str, Ed25519PublicKey]) -> None:
    """Raise BadParcelError unless one of the centre's keys has signed the checkpoint."""
    try:
        read_signed(parcel.document, keys)
    except InvalidError as error:
        raise BadParcelError(
            sentence(
                "The journal is not signed with this centre's key. Nothing was taken over; "
                "if the machine was set up anew, make a new ticket for it."
            )
        ) from error


def _unzip(content: bytes) -> bytes:
    if len(content) > MAX_PACKED:
        raise _damaged()
    # A bomb is not unpacked to see how large it is.
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 25).stream_reader(io.BytesIO(content))
    text = reader.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise _damaged()
    return text


def _check(
    checkpoint: Mapping[str, Any], page: str, bodies: Sequence[str], details: Sequence[str]
) -> None:
    count = checkpoint["to"] - checkpoint["from"] + 1
    if checkpoint["format"] != FORMAT or not 1 <= count <= MAX_RECORDS:
        raise _damaged()
    if len(bodies) != count or len(details) != count:
        raise _damaged()
    if text_digest(page) != checkpoint["sheet"]:
        raise _altered()
    if text_digest("\n".join(details)) != checkpoint["details"]:
        raise _altered()
    if checkpoint["from"] == 1 and checkpoint["start"] != NOTHING:
        raise _altered()


def _check_people(people: Mapping[str, Any]) -> None:
    for name, about in people.items():
        if (
            len(name) > _NAME
            or len(bytes.fromhex(about["salt"])) != _SALT_BYTES
            or not isinstance(about["name"], str)
        ):
            raise _damaged()


def _follow(
    checkpoint: Mapping[str, Any], bodies: Sequence[str], details: Sequence[str]
) -> Iterator[Line]:
    head, seq = checkpoint["start"], checkpoint["from"]
    for body, text in zip(bodies, details, strict=True):
        facts = json.loads(body)
        named = all(isinstance(facts[name], str) for name in ("kind", "person", "commit"))
        if not named or not isinstance(facts["at"], int) or len(facts["person"]) > _NAME:
            raise _damaged()
        owner = (facts["centre"], facts["epoch"], facts["seq"])
        if owner != (checkpoint["centre"], checkpoint["epoch"], seq):
            raise BadParcelError(
                sentence(
                    "Record %(number)s belongs to another centre or place in the journal. "
                    "Nothing of this parcel was taken over.",
                    number=seq,
                )
            )
        head = chain(head, body)
        yield Line(seq=seq, body=body, details=text or None, hash=head, facts=facts)
        seq += 1
    if head != checkpoint["head"]:
        raise _altered()


def _damaged() -> BadParcelError:
    return BadParcelError(
        sentence("This is not a whole piece of a journal. Send it again; nothing was taken over.")
    )


def _altered() -> BadParcelError:
    return BadParcelError(
        sentence(
            "A record in the journal was changed on the way. Nothing of this parcel was taken "
            "over; send it again."
        )
    )
