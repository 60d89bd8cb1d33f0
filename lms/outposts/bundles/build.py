"""Adding a version to a repository: packs of what is new, steps from the last versions, signatures.

What a version holds comes as a mapping of paths to files, so that a folder, the LMS's releases or a
test can give it.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from lms.outposts.bundles import chunks, steps
from lms.outposts.bundles.closing import Closed, Where, close_files
from lms.outposts.bundles.delta import Patch, make
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.frames import LEVEL, compress, decompress
from lms.outposts.bundles.keys import Keys
from lms.outposts.bundles.manifest import LARGEST, Entry, Manifest, Pack, digest_of, parse
from lms.outposts.bundles.measuring import measure
from lms.outposts.bundles.names import check_course, check_paths
from lms.outposts.bundles.packs import Place, open_bytes, order, read_entry, write_packs
from lms.outposts.bundles.problems import DamagedError, HostileError
from lms.outposts.bundles.sealing import Seals
from lms.outposts.bundles.signing import Signed
from lms.protocol.sentences import sentence

#: Versions from which a step leads straight to the newest.
KEPT_STEPS = 3
#: Versions from which a patch leads at least to the newest manifest.
_KEPT_MANIFESTS = 8
#: A delta that saves less than this share of the file is not worth its place.
_WORTH = 0.9
OnProgress = Callable[[int, int], None]
#: Folders and files of tools, which no centre needs.
_LEFT_BEHIND = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a version is to hold."""

    files: Mapping[str, Path]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Paths whose bytes stay closed, and until when.
    sealed: Mapping[str, datetime] = field(default_factory=dict)
    needs: str = "0"
    #: zstd's level: what a slow line saves for longer building.
    level: int = LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A version that was added, or found unchanged."""

    manifest: Manifest
    digest: str
    changed: bool
    pack_bytes: int
    step_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A version that the repository holds."""

    digest: str
    raw: bytes
    manifest: Manifest


def folder_content(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by path, without what tools leave in it.

    Raises HostileError for links and devices.
    """
    files: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_BEHIND]
        kept = [name for name in names if name not in _LEFT_BEHIND]
        for name in (*folders, *kept):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise HostileError(
                    sentence(
                        "%(path)s is neither a file nor a folder: a bundle holds no links and no "
                        "devices.",
                        path=ascii(str(path.relative_to(folder))),
                    )
                )
        for name in kept:
            path = Path(parent, name)
            files[path.relative_to(folder).as_posix()] = path
    return files


def add_version(
    repository: Path,
    course: str,
    content: Content,
    *,
    keys: Keys,
    now: datetime,
    seals: Seals | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Added:
    """Add the content as a course's next version, unless it is what the newest holds.

    `seals` is where central keeps what opens the sealed files; without any it is not needed.
    """
    check_course(course)
    check_paths(content.files)
    signed = Signed(repository, keys)
    if not signed.exists():
        signed.begin(now)
    known = _versions(repository, signed, course)
    newest = known[0].manifest if known else None
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        closed = close_files(
            Where(repository=repository, seals=seals, scratch=Path(scratch)),
            course,
            content.files,
            content.sealed,
            newest,
            now=now,
            level=content.level,
        )
        sized = {path: measure(file) for path, file in closed.files.items()}
        if newest is not None and _same(newest, content, sized, closed):
            return Added(
                manifest=newest, digest=known[0].digest, changed=False, pack_bytes=0, step_bytes=()
            )
        job = _Job(repository, replace(content, files=closed.files), sized, known, Path(scratch))
        return job.run(course, signed, now, closed, on_progress)


class _Job:
    """One addition under way."""

    def __init__(
        self,
        repository: Path,
        content: Content,
        sized: Mapping[str, tuple[int, str]],
        known: list[_Known],
        scratch: Path,
    ) -> None:
        self._repository = repository
        self._content = content
        self._sized = sized
        self._known = known
        self._scratch = scratch
        self._disk = Disk()

    def run(
        self,
        course: str,
        signed: Signed,
        now: datetime,
        closed: Closed,
        on_progress: OnProgress,
    ) -> Added:
        """Write packs, manifest and steps, and sign last."""
        bases = {known.digest: _bases(known.manifest, self._sized) for known in self._known}
        entries, packs, fresh = self._pack(next(iter(bases.values()), {}), on_progress)
        manifest = Manifest(
            course=course,
            version=self._known[0].manifest.version + 1 if self._known else 1,
            needs=self._content.needs,
            metadata=self._content.metadata,
            entries=tuple(replace(one, seal=closed.of.get(one.path, "")) for one in entries),
            packs=packs,
            seals=closed.seals,
        )
        raw = manifest.encode()
        parse(raw)
        digest = digest_of(raw)
        packed = compress(raw)
        self._save(manifest_path(course, digest), packed)
        described = {}
        for number, known in enumerate(self._known):
            deltas = self._deltas(known, bases[known.digest]) if number < KEPT_STEPS else []
            step, facts = steps.write_step(raw, known.raw, deltas)
            self._save(steps.step_path(digest, known.digest), step)
            described[known.digest] = facts
        custom = {
            "version": manifest.version,
            "packed": len(packed),
            "chunks": self._chunks(manifest, digest, signed).to_json(),
            "steps": {base: facts.to_json() for base, facts in described.items()},
        }
        signed.publish_course(course, raw, custom, now)
        return Added(
            manifest=manifest,
            digest=digest,
            changed=True,
            pack_bytes=fresh,
            step_bytes=tuple(facts.size for facts in described.values()),
        )

    def _chunks(self, manifest: Manifest, digest: str, signed: Signed) -> chunks.Described:
        before = None
        target = signed.course(manifest.course)
        if target is not None and self._known:
            described = chunks.Described.from_json(target.unrecognized_fields["custom"]["chunks"])
            known = self._known[0]
            before = chunks.load(self._repository, known.digest, described, known.manifest)
        files = {one: self._content.files[path] for path, (_, one) in self._sized.items()}
        written = chunks.write(
            manifest,
            lambda one: open_bytes(files[one]),
            before,
            self._content.level,
            lambda name, pack: self._save(chunks.pack_path(name), pack),
        )
        self._save(chunks.table_path(digest), written.table)
        return written.described

    def _pack(
        self, bases: Mapping[str, Entry], on_progress: OnProgress
    ) -> tuple[list[Entry], dict[str, Pack], int]:
        held = {
            entry.digest: (entry, known.manifest.packs[entry.pack])
            for known in reversed(self._known)
            for entry in known.manifest.entries
            if entry.size
        }
        wanted: dict[bool, list[tuple[str, Path, int]]] = {True: [], False: []}
        for path in sorted(self._content.files, key=order):
            size, digest = self._sized[path]
            if digest not in held:
                # What an update must fetch whole shares no frame with what it has a delta for.
                wanted[digest in bases].append((digest, self._content.files[path], size))
        total = sum(size for group in wanted.values() for _, _, size in group)
        done = 0

        def progress(size: int) -> None:
            nonlocal done
            done += size
            on_progress(done, total)

        places, packs = write_packs(
            self._repository, [wanted[False], wanted[True]], progress, self._content.level
        )
        fresh = sum(pack.size for pack in packs.values())
        entries = []
        for path in sorted(self._content.files):
            size, digest = self._sized[path]
            if digest in held:
                entry, pack = held[digest]
                place = Place(entry.pack, entry.frame, entry.offset)
                packs[entry.pack] = pack
            else:
                place = places.get(digest, Place("", 0, 0))
            entries.append(Entry(path, size, digest, place.pack, place.frame, place.offset))
        return entries, dict(sorted(packs.items())), fresh

    def _deltas(
        self, known: _Known, bases: Mapping[str, Entry]
    ) -> list[tuple[steps.Delta, list[bytes]]]:
        files = {digest: path for path, (_, digest) in self._sized.items()}
        deltas = []
        for digest, base in sorted(bases.items(), key=lambda pair: order(files[pair[0]])):
            new = open_bytes(self._content.files[files[digest]])
            segments, frames = make(
                open_bytes(self._base_file(known, base)), new, self._content.level
            )
            spent = sum(part.packed for part in segments if isinstance(part, Patch))
            if spent < _WORTH * len(new):
                delta = steps.Delta(digest, base.digest, 0, tuple(segments))
                deltas.append((delta, frames))
        return deltas

    def _base_file(self, known: _Known, base: Entry) -> Path:
        path = self._scratch / base.digest
        if not path.exists():
            hashed = sha256()
            with path.open("wb") as file:
                for part in read_entry(self._repository, base, known.manifest.packs[base.pack]):
                    hashed.update(part)
                    file.write(part)
            if hashed.hexdigest() != base.digest:
                raise DamagedError(
                    sentence("The repository's copy of %(path)s is damaged.", path=base.path)
                )
        return path

    def _save(self, path: str, content: bytes) -> None:
        self._disk.write(self._repository / path, content)


def manifest_path(course: str, digest: str) -> str:
    """Return where a manifest lies in a repository."""
    return f"targets/{course}/{digest}.bundle.manifest.zst"


def load_manifest(repository: Path, course: str, digest: str, size: int) -> bytes:
    """Return a manifest's bytes out of a repository; raises DamagedError."""
    raw = decompress((repository / manifest_path(course, digest)).read_bytes(), size)
    if digest_of(raw) != digest:
        raise DamagedError(sentence("A manifest of %(course)s is damaged.", course=course))
    return raw


def _versions(repository: Path, signed: Signed, course: str) -> list[_Known]:
    """Return the versions that the repository can step from, the newest first."""
    target = signed.course(course)
    if target is None:
        return []
    custom = target.unrecognized_fields["custom"]
    digests = [target.hashes["sha256"], *custom["steps"]]
    known = []
    for digest in digests[:_KEPT_MANIFESTS]:
        packed = (repository / manifest_path(course, digest)).read_bytes()
        raw = decompress(packed, _declared(packed))
        if digest_of(raw) != digest:
            raise DamagedError(sentence("A manifest of %(course)s is damaged.", course=course))
        known.append(_Known(digest, raw, parse(raw)))
    return known


def _declared(packed: bytes) -> int:
    import zstandard

    return min(LARGEST, zstandard.frame_content_size(packed))


def _same(
    newest: Manifest, content: Content, sized: Mapping[str, tuple[int, str]], closed: Closed
) -> bool:
    return (
        {entry.path: (entry.size, entry.digest) for entry in newest.entries} == dict(sized)
        and dict(newest.metadata) == dict(content.metadata)
        and newest.needs == content.needs
        and dict(newest.seals) == closed.seals
    )


def _bases(old: Manifest, sized: Mapping[str, tuple[int, str]]) -> dict[str, Entry]:
    """Return for each new content the old file that it most likely came from."""
    paths, held = old.by_path(), {entry.digest for entry in old.entries}
    names: dict[str, list[Entry]] = {}
    for entry in old.entries:
        names.setdefault(_kin(entry.path), []).append(entry)
    bases: dict[str, Entry] = {}
    for path, (size, digest) in sized.items():
        if digest in held or not size:
            continue
        candidates = [paths[path]] if path in paths else names.get(_kin(path), [])
        candidates = [entry for entry in candidates if entry.size]
        if candidates:
            bases[digest] = min(candidates, key=lambda entry: abs(entry.size - size))
    return bases


def _kin(path: str) -> str:
    """Return what a renamed file keeps: its name; of a wheel, its project."""
    name = PurePosixPath(path).name
    return f"{name.split('-')[0].lower()}-*.whl" if name.endswith(".whl") else name
