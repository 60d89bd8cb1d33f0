"""Making contents out of their parts, so that a kill at any byte loses at most a megabyte."""

import hashlib
import os
from collections.abc import Callable, Iterator

from lms.outposts.bundles.plan import FromBase, FromPiece, Job, Part
from lms.outposts.bundles.problems import DamagedError
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.wire import COMMIT_BYTES, Wire
from lms.protocol.sentences import sentence

_READ = 1 << 20
#: Contents that are brought to the disk together.
_GROUP_FILES, _GROUP_BYTES = 256, 32 << 20


class Assembler:
    """Does jobs one after another and commits what they made in groups."""

    def __init__(self, store: Store, wire: Wire, on_file: Callable[[], None]) -> None:
        self._store = store
        self._wire = wire
        self._on_file = on_file
        self._whole: list[str] = []
        self._written = 0

    def run(self, jobs: list[Job]) -> list[tuple[Job, DamagedError]]:
        """Do all jobs; returns those whose bytes no source has whole."""
        failed = []
        try:
            for job in jobs:
                try:
                    self._make(job)
                except DamagedError as error:
                    failed.append((job, error))
                else:
                    self._whole.append(job.entry.digest)
                    self._on_file()
                if self._due():
                    self.commit()
        finally:
            # Also when the line broke: what is whole is not fetched again.
            self.commit()
        return failed

    def commit(self) -> None:
        """Give what is whole its name."""
        if self._whole:
            self._store.commit(self._whole)
            self._whole = []
        self._written = 0
        self._wire.committed()

    def _due(self) -> bool:
        return (
            self._wire.uncommitted >= COMMIT_BYTES
            or self._written >= _GROUP_BYTES
            or len(self._whole) >= _GROUP_FILES
        )

    def _make(self, job: Job) -> None:
        path = self._store.part(job.entry.digest)
        disk = self._store.disk
        at, hashed = self._resume(job)
        begin, unsynced = 0, 0
        for part in job.parts:
            end = begin + part.length
            if begin >= at:
                for content in self._contents(part):
                    disk.append(path, content)
                    hashed.update(content)
                    self._written += len(content)
                unsynced += part.piece.packed if isinstance(part, FromPiece) else 0
                if unsynced >= COMMIT_BYTES and end < job.entry.size:
                    disk.sync([path])
                    self.commit()
                    unsynced = 0
            begin = end
        if not job.entry.size:
            disk.append(path, b"")
        if hashed.hexdigest() != job.entry.digest:
            disk.remove(path)
            raise DamagedError(sentence("%(path)s came out wrong.", path=job.entry.path))

    def _resume(self, job: Job) -> tuple[int, "hashlib._Hash"]:
        """Return how much of a content is here from before, cut to a whole part, and its hash."""
        path = self._store.part(job.entry.digest)
        hashed = hashlib.sha256()
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0, hashed
        at, end = 0, 0
        for part in job.parts:
            end += part.length
            if end <= size:
                at = end
        self._store.disk.cut(path, at)
        with path.open("rb") as file:
            while content := file.read(_READ):
                hashed.update(content)
        return at, hashed

    def _contents(self, part: Part) -> Iterator[bytes]:
        if isinstance(part, FromBase):
            for offset in range(part.offset, part.offset + part.length, _READ):
                length = min(_READ, part.offset + part.length - offset)
                yield self._base(part.base, offset, length)
            return
        window = (
            (lambda: self._base(part.base, part.window, part.window_length))
            if part.base and part.window_length
            else None
        )
        raw = self._wire.get(part.piece, window)
        whole = part.offset == 0 and part.length == len(raw)
        yield raw if whole else raw[part.offset : part.offset + part.length]

    def _base(self, digest: str, offset: int, length: int) -> bytes:
        try:
            with self._store.content(digest).open("rb") as file:
                content = os.pread(file.fileno(), length, offset)
        except OSError as error:
            raise _lacking() from error
        if len(content) != length:
            raise _lacking()
        return content


def _lacking() -> DamagedError:
    return DamagedError(sentence("An earlier file that a change leans on is damaged."))
