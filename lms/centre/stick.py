"""Syncing by a folder: the same parcels, blobs and answers as files that may come late or twice.

    seodang-sync/<centre>/up/<epoch>-<first record>.journal    blobs/aa/<digest>    down/answer.json

Names are lower-case ASCII, as FAT32 keeps them. Every file appears whole.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from lms.centre.erasure import obey
from lms.centre.sending import blobs_after, make_parcel, read_answer
from lms.centre.tickets import get_self
from lms.foundation import clock
from lms.foundation.blobs import BlobStore, Digest, digest_of
from lms.foundation.db import transaction
from lms.foundation.errors import UnavailableError
from lms.foundation.signing import Signer, SigningKeys
from lms.protocol.sentences import sentence

TREE = "seodang-sync"
#: Larger than any blob of a submission may be.
_MAX_BLOB = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a stick was given, and how far central's answer on it says that all is there."""

    records: int
    blobs: int
    complete: int
    answered: bool


@dataclass(slots=True, kw_only=True)
class StickPush:
    """Writes what central lacks to a folder, after reading central's answer there."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    signer: Signer
    receipt_keys: SigningKeys
    tell: Callable[[str], None] = lambda _what: None

    def run(self, folder: Path) -> Written:
        """Read the answer, then write parcels and blobs that no receipt covers."""
        with self.sessions() as session:
            root = folder / TREE / get_self(session).centre
        answered = self._read(root / "down" / "answer.json")
        records = blobs = 0
        with self.sessions() as session:
            me = get_self(session)
            complete = after = me.complete_to
            keep = set()
            while parcel := make_parcel(
                session, me, self.signer, after=after, receipt_keys=self.receipt_keys.published()
            ):
                path = root / "up" / f"{me.epoch:06d}-{after + 1:010d}.journal"
                write_whole(path, parcel)
                keep.add(path.name)
                count = min(parcel_size(parcel), 1 << 62)
                after += count
                records += count
                self.tell(f"{records} records")
            for digest in dict.fromkeys(blobs_after(session, me, complete)):
                blobs += self._copy(root, digest)
        _sweep(root / "up", keep)
        return Written(records=records, blobs=blobs, complete=complete, answered=answered)

    def _read(self, path: Path) -> bool:
        if not path.is_file():
            return False
        with transaction(self.sessions) as session:
            me = get_self(session)
            answer = read_answer(session, me, path.read_text("utf-8"), now=clock.now())
            gone = obey(session, me, answer.orders, now=clock.now())
        for digest in gone:
            self.blobs.remove(digest)
        return True

    def _copy(self, root: Path, digest: str) -> int:
        path = blob_path(root, digest)
        if path.exists() or digest not in self.blobs:
            return 0
        write_whole(path, self.blobs.get(digest))
        return 1


def parcel_size(parcel: bytes) -> int:
    """Return how many records a parcel of ours holds."""
    from lms.centre.parcels import unpack

    return len(unpack(parcel).lines)


def blob_path(root: Path, digest: str) -> Path:
    """Return where a blob lies on the stick."""
    name = digest.removeprefix("sha256:")
    return root / "blobs" / name[:2] / name


def centres_on(folder: Path) -> Iterator[Path]:
    """Yield each centre's folder on a stick; raises UnavailableError for a folder without any."""
    found = sorted(path for path in (folder / TREE).glob("*") if path.is_dir())
    if not found:
        raise UnavailableError(
            sentence("There is no work of a centre in %(folder)s.", folder=str(folder))
        )
    yield from found


def read_blob(root: Path, digest: str) -> bytes | None:
    """Return a wanted blob from the stick if it is there and whole."""
    path = blob_path(root, Digest(digest))
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BLOB:
        return None
    content = path.read_bytes()
    return content if digest_of(content) == digest else None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears when all of it is on the stick; raises UnavailableError."""
    fresh = path.with_name(f"{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise UnavailableError(
            sentence(
                "%(path)s cannot be written: %(why)s. What stood there is as it was.",
                path=str(path),
                why=error.strerror or "unknown error",
            )
        ) from error


def _sweep(folder: Path, keep: set[str]) -> None:
    """Take what central has by its own signature off the stick."""
    for path in folder.glob("*"):
        if path.name not in keep and path.suffix in {".journal", ".new"}:
            path.unlink()
