"""A centre's trust: which manifests central signed, judged by TUF and the centre's own clock."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from lms.outposts.bundles import chunks
from lms.outposts.bundles.clock import Clock, set_reference_time
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.manifest import LARGEST
from lms.outposts.bundles.names import check_course
from lms.outposts.bundles.problems import HostileError, SourceError, UntrustedError
from lms.outposts.bundles.signing import ISSUED, target_name
from lms.outposts.bundles.source import MissingError, Source
from lms.outposts.bundles.steps import Described
from lms.protocol.sentences import sentence

_BASE = "bundle:///"
_LARGEST_METADATA = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What central signed of a course: the newest manifest and the steps that lead to it."""

    course: str
    digest: str
    size: int
    version: int
    packed: int
    steps: dict[str, Described]
    chunks: chunks.Described


class _Fetcher(FetcherInterface):
    """python-tuf's way to our sources; keeps the sentence of what went wrong."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problem: SourceError | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield self._source.small(url.removeprefix(_BASE), _LARGEST_METADATA)
        except MissingError as error:
            raise DownloadHTTPError(str(error), 404) from error
        except SourceError as error:
            self.problem = error
            raise DownloadError(str(error)) from error


class Trust:
    """The trusted metadata in a centre's folder."""

    def __init__(self, state: Path, disk: Disk) -> None:
        self._state = state
        self._disk = disk
        self._folder = state / "trusted"
        self.clock = Clock(state / "clock.json", disk)

    def begin(self, root: bytes, issued: datetime) -> None:
        """Trust a root, and that it is no earlier than `issued`: what a centre's ticket carries."""
        try:
            Metadata.from_bytes(root).verify_delegate  # noqa: B018 - reading it is the check
        except RepositoryError as error:
            raise _broken() from error
        self._disk.write(self._state / "root.json", root)
        self.clock.learn(issued)

    def look(
        self, source: Source, machine: datetime, courses: Iterable[str] | None = None
    ) -> dict[str, Target]:
        """Take the newest metadata that a source has; returns what is signed of the courses.

        Without `courses`, of all that central signs. Raises UntrustedError or SourceError.
        """
        with self._updater(source, machine) as (updater, fetcher), _sentences(fetcher, source):
            updater.refresh()
            names = _courses(updater) if courses is None else [check_course(c) for c in courses]
            found = {course: updater.get_targetinfo(target_name(course)) for course in names}
        timestamp = Metadata[Timestamp].from_file(str(self._folder / "timestamp.json")).signed
        self.clock.learn(_issued(timestamp))
        for course, target in found.items():
            if target is None:
                raise UntrustedError(
                    sentence(
                        "%(source)s has no course %(course)s.", source=source.name, course=course
                    )
                )
        return {course: _target(course, info) for course, info in found.items() if info}

    @contextmanager
    def _updater(self, source: Source, machine: datetime) -> Iterator[tuple[Updater, _Fetcher]]:
        """Let python-tuf work on a copy, which takes the folder's place once it is on the disk."""
        root = self._root()
        self._recover()
        fresh = self._folder.with_name("trusted.new")
        shutil.rmtree(fresh, ignore_errors=True)
        if self._folder.exists():
            shutil.copytree(self._folder, fresh, symlinks=True)
        fresh.mkdir(exist_ok=True)
        fetcher = _Fetcher(source)
        try:
            with _sentences(fetcher, source):
                updater = Updater(
                    str(fresh),
                    f"{_BASE}metadata/",
                    fetcher=fetcher,
                    bootstrap=root,
                    config=UpdaterConfig(targets_max_length=_LARGEST_METADATA),
                )
            set_reference_time(updater, self.clock.reference(machine))
            yield updater, fetcher
        finally:
            # Also after a failure: what is there was verified, such as a newer root.
            self._take(fresh)

    def _root(self) -> bytes:
        try:
            return (self._state / "root.json").read_bytes()
        except OSError as error:
            raise UntrustedError(
                sentence("This centre trusts no central yet: let it join with a ticket first.")
            ) from error

    def _take(self, fresh: Path) -> None:
        if _contents(fresh) == _contents(self._folder):
            shutil.rmtree(fresh)
            return
        for path in fresh.rglob("*"):
            # python-tuf keeps them to itself; they are public, and the pages run as another user.
            if path.is_file() and not path.is_symlink():
                path.chmod(0o644)
        self._disk.sync([path for path in fresh.rglob("*") if not path.is_symlink()] + [fresh])
        old = self._folder.with_name("trusted.old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            self._disk.rename(self._folder, old)
        self._disk.rename(fresh, self._folder)
        self._disk.sync([self._state])
        shutil.rmtree(old, ignore_errors=True)

    def _recover(self) -> None:
        old = self._folder.with_name("trusted.old")
        if not self._folder.exists() and old.exists():
            self._disk.rename(old, self._folder)


def _courses(updater: Updater) -> list[str]:
    # What was just loaded and verified lies in the folder that the updater works in.
    path = Path(updater._dir) / "targets.json"  # noqa: SLF001 - the folder that we gave it
    delegations = Metadata[Targets].from_file(str(path)).signed.delegations
    return sorted((delegations.roles or {}) if delegations else {})


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _target(course: str, found: TargetFile) -> Target:
    custom: Any = found.unrecognized_fields.get("custom")
    match custom:
        case {"version": int(version), "packed": int(packed), "steps": dict(steps), **rest} if (
            0 < found.length <= LARGEST and 0 < packed <= LARGEST
        ):
            return Target(
                course=course,
                digest=found.hashes["sha256"],
                size=found.length,
                version=version,
                packed=packed,
                chunks=chunks.Described.from_json(rest.get("chunks")),
                steps={str(base): Described.from_json(row) for base, row in steps.items()},
            )
        case _:
            raise HostileError(
                sentence("What is signed of %(course)s cannot be understood.", course=course)
            )


def _issued(timestamp: Timestamp) -> datetime:
    try:
        issued = datetime.fromisoformat(str(timestamp.unrecognized_fields[ISSUED]))
    except (KeyError, ValueError) as error:
        raise _broken() from error
    return issued if issued.tzinfo else issued.replace(tzinfo=UTC)


@contextmanager
def _sentences(fetcher: _Fetcher, source: Source) -> Iterator[None]:
    """Say python-tuf's errors in sentences."""
    try:
        yield
    except (RepositoryError, DownloadError, KeyError) as error:
        _say(error, fetcher, source)


def _say(error: Exception, fetcher: _Fetcher, source: Source) -> NoReturn:
    if isinstance(error, DownloadError) and fetcher.problem is not None:
        raise fetcher.problem from error
    if isinstance(error, DownloadError):
        said = sentence("%(source)s holds no complete repository of bundles.", source=source.name)
        raise SourceError(said) from error
    if isinstance(error, ExpiredMetadataError):
        said = sentence(
            "What %(source)s holds has expired: get a newer one, and see whether this machine's "
            "clock is right.",
            source=source.name,
        )
    elif isinstance(error, BadVersionNumberError):
        said = sentence(
            "%(source)s is older than what this centre has seen: it is not taken.",
            source=source.name,
        )
    elif isinstance(error, UnsignedMetadataError):
        said = sentence(
            "%(source)s is not signed by the keys that this centre trusts.", source=source.name
        )
    else:
        said = sentence(
            "The signed parts of %(source)s do not fit together or are damaged.",
            source=source.name,
        )
    raise UntrustedError(said) from error


def _broken() -> UntrustedError:
    return UntrustedError(sentence("The root of trust cannot be read."))
