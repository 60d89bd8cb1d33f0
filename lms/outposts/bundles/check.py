"""Checking a whole repository or stick: signatures, and every file's bytes."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from lms.outposts.bundles.build import load_manifest
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.manifest import Entry, Manifest, digest_of, parse
from lms.outposts.bundles.packs import read_entry
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.steps import Described, step_path
from lms.outposts.bundles.trust import Target, Trust
from lms.protocol.sentences import Sentence, sentence

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a repository."""

    versions: dict[str, int]
    files: int
    problems: tuple[Sentence, ...]
    #: What a stick for centres with an earlier version leaves out.
    notes: tuple[Sentence, ...] = ()


def check(
    repository: Path,
    *,
    root: bytes | None,
    now: datetime,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Checked:
    """Check everything, by a root that is trusted or else by the repository's own first one.

    Raises BundleError when the signatures do not hold: then nothing else counts.
    """
    with tempfile.TemporaryDirectory(prefix="check-") as scratch:
        trust = Trust(Path(scratch), Disk())
        trust.begin(root or _first_root(repository), _LONG_AGO)
        targets = trust.look(FolderSource(repository), now)
    return _check_targets(repository, list(targets.values()), on_bytes)


def _check_targets(
    repository: Path, targets: list[Target], on_bytes: Callable[[int], None]
) -> Checked:
    files = 0
    problems: list[Sentence] = []
    notes: list[Sentence] = []
    for target in targets:
        try:
            raw = load_manifest(repository, target.course, target.digest, target.size)
            manifest = parse(raw)
        except (OSError, BundleError):
            problems.append(
                sentence("The manifest of %(course)s is damaged.", course=target.course)
            )
            continue
        entries = list(manifest.by_digest().values())
        here = [entry for entry in entries if _is_here(repository, manifest, entry)]
        files += len(here)
        if len(here) < len(entries):
            lacking = problems if not _held_steps(repository, target) else notes
            lacking.append(
                sentence(
                    "%(count)s files of %(course)s are not in %(folder)s: it serves only centres "
                    "that hold an earlier version.",
                    count=len(entries) - len(here),
                    course=target.course,
                    folder=str(repository),
                )
            )
        for entry in here:
            if not _whole(repository, manifest, entry):
                problems.append(
                    sentence(
                        "%(path)s of %(course)s is damaged.",
                        path=entry.path,
                        course=target.course,
                    )
                )
            on_bytes(entry.size)
        problems += _steps(repository, target)
    versions = {target.course: target.version for target in targets}
    return Checked(versions, files, tuple(problems), tuple(notes))


def _is_here(repository: Path, manifest: Manifest, entry: Entry) -> bool:
    return not entry.size or (repository / manifest.packs[entry.pack].path).exists()


def _held_steps(repository: Path, target: Target) -> list[str]:
    paths = [step_path(target.digest, base) for base in target.steps]
    return [path for path in paths if (repository / path).exists()]


def _first_root(repository: Path) -> bytes:
    try:
        return (repository / "metadata" / "1.root.json").read_bytes()
    except OSError as error:
        raise BundleError(
            sentence("%(folder)s is no repository of bundles.", folder=str(repository))
        ) from error


def _whole(repository: Path, manifest: Manifest, entry: Entry) -> bool:
    hashed = sha256()
    try:
        if entry.size:
            for part in read_entry(repository, entry, manifest.packs[entry.pack]):
                hashed.update(part)
    except (OSError, BundleError):
        return False
    return hashed.hexdigest() == entry.digest


def _steps(repository: Path, target: Target) -> list[Sentence]:
    return [
        sentence("A step to version %(version)s is damaged.", version=target.version)
        for base, described in target.steps.items()
        if not _step_stands(repository / step_path(target.digest, base), described)
    ]


def _step_stands(path: Path, described: Described) -> bool:
    # A stick for one centre holds only that centre's step; deltas are checked as they are used.
    if not path.exists():
        return True
    with path.open("rb") as file:
        head = file.read(described.head)
    return digest_of(head) == described.digest and path.stat().st_size == described.size
