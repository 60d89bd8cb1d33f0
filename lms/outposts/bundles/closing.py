"""What a new version holds, with its sealed files put into envelopes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lms.outposts.bundles import envelopes
from lms.outposts.bundles.manifest import Entry, Manifest, Pack
from lms.outposts.bundles.measuring import measure
from lms.outposts.bundles.packs import read_entry
from lms.outposts.bundles.problems import BundleError, HostileError
from lms.outposts.bundles.sealing import Seals, Secret, context
from lms.protocol.sentences import sentence

#: A row of more envelopes than this is begun anew.
_LONGEST = 32


@dataclass(slots=True)
class Closed:
    """Files that may lie in the open: the open ones and the envelopes, whose seals `of` names."""

    files: dict[str, Path]
    of: dict[str, str] = field(default_factory=dict)
    seals: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where sealing happens: the repository, central's secrets, and a folder for a while."""

    repository: Path
    seals: Seals | None
    scratch: Path


def close_files(
    where: Where,
    course: str,
    files: Mapping[str, Path],
    sealed: Mapping[str, datetime],
    newest: Manifest | None,
    *,
    now: datetime,
    level: int,
) -> Closed:
    """Put what is sealed into envelopes, a row for each time at which some of it opens.

    What did not change keeps its envelopes. A time that has passed seals nothing that was not
    sealed before it.
    """
    _check_names(files, sealed)
    groups: dict[datetime, dict[str, Path]] = {}
    for path, opens_at in sealed.items():
        groups.setdefault(opens_at, {})[path] = files[path]
    closed = Closed({path: file for path, file in files.items() if path not in sealed})
    for opens_at, group in sorted(groups.items()):
        secret = _secret(where, course, opens_at, now)
        if secret is None:
            closed.files |= group
            continue
        name = secret.seal.name
        held = newest.entries if newest else ()
        packs = newest.packs if newest else {}
        known = [(one, packs[one.pack]) for one in held if one.seal == name]
        row = _row(where, course, group, secret, known, level)
        closed.files |= row
        closed.of |= dict.fromkeys(row, name)
        closed.seals[name] = secret.seal.to_json()
    return closed


def _check_names(files: Mapping[str, Path], sealed: Mapping[str, datetime]) -> None:
    for path in files:
        if path.split("/")[0].casefold() == envelopes.FOLDER:
            raise HostileError(sentence("The path %(path)s may not be in a bundle.", path=path))
    for path in sealed:
        if path not in files:
            raise BundleError(sentence("%(path)s is to be sealed, but is not there.", path=path))


def _secret(where: Where, course: str, opens_at: datetime, now: datetime) -> Secret | None:
    if where.seals is None:
        raise BundleError(
            sentence("Sealed files need the folder where central keeps what opens them.")
        )
    found = where.seals.find(course, opens_at)
    if found is None and opens_at > now:
        return where.seals.make(course, opens_at)
    return found


def _row(
    where: Where,
    course: str,
    group: Mapping[str, Path],
    secret: Secret,
    known: list[tuple[Entry, Pack]],
    level: int,
) -> dict[str, Path]:
    """Return the envelopes of one seal: those there are, and a new one if something changed."""
    name = secret.seal.name
    scratch = where.scratch / name
    scratch.mkdir(mode=0o700)
    row: dict[str, Path] = {}
    for entry, pack in sorted(known, key=lambda one: one[0].path):
        row[entry.path] = scratch / entry.path.rpartition("/")[2]
        with row[entry.path].open("wb") as out:
            out.writelines(read_entry(where.repository, entry, pack))
    bound = context(course, name)
    before = envelopes.read(row.values(), secret.key, bound, scratch / "plain") if row else None
    wanted = {path: (measure(file)[1], file.stat().st_size) for path, file in group.items()}
    if before is not None and before.files == wanted:
        return row
    number = envelopes.number_of(max(row)) + 1 if row else 1
    fresh = scratch / "fresh"
    if _too_long(row):
        row, before = {}, None
    envelopes.add(group, before, (fresh, secret.key, bound), level)
    row[envelopes.envelope_path(name, number)] = fresh
    return row


def _too_long(row: Mapping[str, Path]) -> bool:
    """Say whether a centre that comes later had better get the files whole again."""
    sizes = [row[path].stat().st_size for path in sorted(row)]
    return len(sizes) >= _LONGEST or sum(sizes[1:]) > sum(sizes[:1])
