"""Pulling a course's newest version: trust, plan, fetch, verify, switch; all can be cut off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from packaging.version import InvalidVersion, Version

from lms.outposts.bundles import chunks
from lms.outposts.bundles.assembly import Assembler
from lms.outposts.bundles.build import manifest_path
from lms.outposts.bundles.frames import decompress
from lms.outposts.bundles.manifest import Entry, Manifest, digest_of, parse
from lms.outposts.bundles.mending import plan, scan
from lms.outposts.bundles.plan import Job, by_delta, make_jobs, unique
from lms.outposts.bundles.problems import (
    BundleError,
    DamagedError,
    HostileError,
    SourceError,
    UntrustedError,
)
from lms.outposts.bundles.source import Source
from lms.outposts.bundles.steps import read_deltas, read_manifest, step_path
from lms.outposts.bundles.store import Installed, Store
from lms.outposts.bundles.trust import Target, Trust
from lms.outposts.bundles.wire import Pace, Wire
from lms.protocol.sentences import Sentence, sentence

#: Damaged paths that a sentence names.
_NAMED = 5


@dataclass(slots=True)
class Progress:
    """What a pull has to do and has done; a door draws it."""

    course: str = ""
    bytes_all: int = 0
    bytes_done: int = 0
    files_all: int = 0
    files_done: int = 0

    @property
    def bytes_left(self) -> int:
        """Return what remains to be fetched."""
        return max(0, self.bytes_all - self.bytes_done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What became of one course."""

    course: str
    version: int
    changed: bool
    files: int
    received: int
    #: Paths that no source holds whole; then nothing was switched.
    damaged: tuple[str, ...] = ()
    problem: Sentence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a pull is done."""

    sources: Sequence[Source]
    machine_time: datetime
    #: Version of the software here; what needs a newer one is left. Empty: nothing is compared.
    software: str = ""
    pace: Pace = field(default_factory=Pace)
    on_progress: Callable[[Progress], None] = lambda _: None


def look(store: Store, how: How, courses: Sequence[str] | None = None) -> dict[str, Target]:
    """Ask every source what central signed; one that can be trusted is enough."""
    trust = Trust(store.root, store.disk)
    targets: dict[str, Target] = {}
    problems: list[BundleError] = []
    for source in how.sources:
        try:
            seen = trust.look(source, how.machine_time, courses)
        except (SourceError, UntrustedError) as error:
            problems.append(error)
            continue
        for course, target in seen.items():
            if course not in targets or targets[course].version <= target.version:
                targets[course] = target
    if not targets and problems:
        raise problems[0]
    return targets


def pull(store: Store, how: How, courses: Sequence[str] | None = None) -> list[Pulled]:
    """Bring every course, or those named, to its newest version."""
    with store.locked():
        targets = look(store, how, courses)
        pulled = [_Pull(store, how, target).run() for target in targets.values()]
        if not any(one.damaged for one in pulled):
            store.tidy()
        return pulled


class _Pull:
    """The pull of one course."""

    def __init__(self, store: Store, how: How, target: Target) -> None:
        self._store = store
        self._how = how
        self._target = target
        self._received = 0
        self._progress = Progress(target.course)
        self._deltas: dict[str, Job] = {}
        self._stands: Installed | None = None

    def run(self) -> Pulled:
        """Fetch what is missing, verify everything, switch."""
        stands = self._stands = self._store.installed(self._target.course)
        if stands and stands.digest == self._target.digest:
            return self._result(self._target.version, changed=False)
        raw = self._manifest(stands.digest if stands else "")
        manifest = parse(raw)
        if (manifest.course, manifest.version) != (self._target.course, self._target.version):
            raise UntrustedError(sentence("The manifest is another one than was signed."))
        if self._is_too_new(manifest.needs):
            return self._result(
                manifest.version, changed=False, problem=self._update_first(manifest)
            )
        damaged = self._complete(manifest)
        if damaged:
            return self._spoilt(manifest, damaged)
        self._store.save_manifest(raw)
        self._store.switch(manifest, self._target.digest)
        self._store.collect()
        return self._result(manifest.version, changed=True)

    def _is_too_new(self, needs: str) -> bool:
        if not self._how.software:
            return False
        try:
            return Version(needs) > Version(self._how.software)
        except InvalidVersion as error:
            raise HostileError(
                sentence("The bundle's manifest breaks the rules of its format.")
            ) from error

    def _update_first(self, manifest: Manifest) -> Sentence:
        return sentence(
            "Version %(version)s of %(course)s needs the software %(needs)s and this is "
            "%(software)s: bring it with lms centre pull --course seodang-software, run lms "
            "centre update, and pull again. What was here stays.",
            version=manifest.version,
            course=manifest.course,
            needs=manifest.needs,
            software=self._how.software,
        )

    def _complete(self, manifest: Manifest) -> list[Entry]:
        """Fetch what is missing until all that is here verifies; returns what cannot be had."""
        failed = self._fetch(manifest)
        if failed:
            return failed
        rotten = self._store.damaged(manifest)
        for entry in rotten:
            self._store.set_aside(entry)
        self._deltas = {}
        return self._fetch(manifest) if rotten else []

    def _fetch(self, manifest: Manifest) -> list[Entry]:
        missing = [entry for entry in manifest.by_digest().values() if not self._store.has(entry)]
        stepped = bool(self._deltas)
        ways = self._deltas if stepped else self._by_chunks(missing, manifest)
        failed = [job.entry for job, _ in self._run(make_jobs(missing, manifest, ways))]
        if failed and stepped:
            # A change may lean on a file that has rotted here: its good chunks serve.
            self._deltas = {}
            ways = self._by_chunks(failed, manifest)
            failed = [job.entry for job, _ in self._run(make_jobs(failed, manifest, ways))]
        if failed:
            # The packs lean on nothing.
            failed = [job.entry for job, _ in self._run(make_jobs(failed, manifest, {}))]
        return failed

    def _by_chunks(self, missing: list[Entry], manifest: Manifest) -> dict[str, Job]:
        """Return jobs from chunks, where something is here that chunks can be found in."""
        known = self._store.manifest_bytes(self._stands.digest) if self._stands else None
        files = self._store.scanned(parse(known).entries if known else ())
        wanted = [entry for entry in missing if entry.size]
        if not wanted or not files:
            return {}
        described = self._target.chunks
        path = chunks.table_path(self._target.digest)
        try:
            first = self._small(path, described.first, described.size)
            table = chunks.read(first, described, manifest)
            return plan(
                wanted,
                manifest,
                (table, described),
                scan(files),
                lambda start, length: self._small(path, length, described.size, start),
            )
        except BundleError:
            return {}

    def _run(self, jobs: list[Job]) -> list[tuple[Job, DamagedError]]:
        pieces = unique(jobs)
        self._progress.files_all += len(jobs)
        self._progress.bytes_all += sum(piece.packed for piece in pieces)
        wire = self._wire()
        wire.expect(pieces)
        try:
            return Assembler(self._store, wire, self._file).run(jobs)
        finally:
            wire.close()

    def _wire(self) -> Wire:
        return Wire(
            self._how.sources,
            self._store.fresh,
            self._store.disk,
            pace=self._how.pace,
            on_bytes=self._bytes,
        )

    def _manifest(self, base: str) -> bytes:
        """Return the signed manifest's bytes, by the step from the one that stands if it can be."""
        before = self._store.manifest_bytes(base) if base else None
        if before is not None and base in self._target.steps:
            try:
                return self._step(base, before)
            except (SourceError, DamagedError):
                # The packs and the whole manifest are the longer way to the same.
                self._deltas = {}
        held = self._store.manifest_bytes(self._target.digest)
        if held is not None:
            return held
        size = self._target.packed
        packed = self._small(manifest_path(self._target.course, self._target.digest), size, size)
        return self._check(decompress(packed, self._target.size))

    def _step(self, base: str, before: bytes) -> bytes:
        described = self._target.steps[base]
        path = step_path(self._target.digest, base)
        kept = self._store.fresh / f"{described.digest}.head"
        head = kept.read_bytes() if kept.exists() else b""
        if digest_of(head) != described.digest:
            head = self._small(path, described.head, described.size)
        raw = self._check(read_manifest(head, described, before))
        new = parse(raw)
        entries = new.by_digest()
        self._deltas = {
            delta.digest: by_delta(entries[delta.digest], delta, path, described.size)
            for delta in read_deltas(head, described, new, parse(before))
        }
        self._store.disk.write(kept, head)
        return raw

    def _check(self, raw: bytes) -> bytes:
        if len(raw) != self._target.size or digest_of(raw) != self._target.digest:
            raise DamagedError(sentence("The manifest is another one than was signed."))
        return raw

    def _small(self, path: str, length: int, whole: int, start: int = 0) -> bytes:
        problem: SourceError | None = None
        for source in self._how.sources:
            content = b""
            try:
                for part in source.read(path, start, length, whole):
                    content += part
                    self._bytes(len(part))
            except SourceError as error:
                problem = error
            else:
                return content
        raise problem or SourceError(sentence("There is no source to pull from."))

    def _bytes(self, count: int) -> None:
        self._received += count
        self._progress.bytes_done += count
        self._how.on_progress(self._progress)

    def _file(self) -> None:
        self._progress.files_done += 1
        self._how.on_progress(self._progress)

    def _spoilt(self, manifest: Manifest, damaged: list[Entry]) -> Pulled:
        bad = {entry.digest for entry in damaged}
        paths = tuple(sorted(entry.path for entry in manifest.entries if entry.digest in bad))
        return self._result(
            manifest.version,
            changed=False,
            damaged=paths,
            problem=sentence(
                "%(count)s files of %(course)s are damaged at the source, the first being "
                "%(paths)s. All others are here; pull these from another source.",
                count=len(paths),
                course=self._target.course,
                paths=", ".join(paths[:_NAMED]),
            ),
        )

    def _result(
        self,
        version: int,
        *,
        changed: bool,
        damaged: tuple[str, ...] = (),
        problem: Sentence | None = None,
    ) -> Pulled:
        return Pulled(
            course=self._target.course,
            version=version,
            changed=changed,
            files=self._progress.files_done,
            received=self._received,
            damaged=damaged,
            problem=problem,
        )
