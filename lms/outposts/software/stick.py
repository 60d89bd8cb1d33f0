"""The installer and the wheels as plain files at the top of a stick, beside the signed bundle.

A machine that has nothing yet cannot open packs. What lies here is compared with its digests by
install.sh, and with the signed manifest once the machine has joined.
"""

import shutil
from hashlib import sha256
from pathlib import Path

from lms.outposts.bundles.build import load_manifest
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import Keys
from lms.outposts.bundles.manifest import Entry, Manifest, parse
from lms.outposts.bundles.packs import read_entry
from lms.outposts.bundles.problems import BundleError, DamagedError
from lms.outposts.bundles.signing import Signed
from lms.outposts.software.contents import FOLDER, SOFTWARE
from lms.protocol.sentences import sentence

#: Written last and taken away first: without it the installer does nothing.
SUMS = f"{FOLDER}/SHA256SUMS"


def write_installer(repository: Path, stick: Path) -> int:
    """Lay the newest software out on a stick, if the repository has any; returns the bytes written.

    What is there already is not written again. Raises BundleError.
    """
    target = Signed(repository, Keys()).course(SOFTWARE)
    if target is None:
        return 0
    digest = target.hashes["sha256"]
    manifest = parse(load_manifest(repository, SOFTWARE, digest, target.length))
    missing = [entry for entry in manifest.entries if not _is_whole(stick / entry.path, entry)]
    stale = _stale(stick, manifest)
    if not missing and not stale:
        return 0
    _check_room(stick, sum(entry.size for entry in missing))
    disk = Disk()
    disk.remove(stick / SUMS)
    for path in stale:
        disk.remove(path)
    sums = [entry for entry in manifest.entries if entry.path == SUMS]
    for entry in (*(one for one in missing if one.path != SUMS), *sums):
        _write(repository, manifest, entry, stick / entry.path, disk)
    return sum(entry.size for entry in missing)


def _is_whole(path: Path, entry: Entry) -> bool:
    try:
        with path.open("rb") as file:
            hashed = sha256()
            while part := file.read(1 << 20):
                hashed.update(part)
    except OSError:
        return False
    return hashed.hexdigest() == entry.digest


def _stale(stick: Path, manifest: Manifest) -> list[Path]:
    """Return the files of an earlier version."""
    kept = {stick / entry.path for entry in manifest.entries}
    return [path for path in (stick / FOLDER).glob("*") if path not in kept and path.is_file()]


def _write(repository: Path, manifest: Manifest, entry: Entry, path: Path, disk: Disk) -> None:
    disk.make_folder(path.parent)
    fresh = path.with_name(f"{path.name}.new")
    disk.remove(fresh)
    hashed = sha256()
    for part in read_entry(repository, entry, manifest.packs[entry.pack]):
        hashed.update(part)
        disk.append(fresh, part)
    if hashed.hexdigest() != entry.digest:
        raise DamagedError(
            sentence("The repository's copy of %(path)s is damaged.", path=entry.path)
        )
    disk.sync([fresh])
    disk.rename(fresh, path)
    disk.sync([path.parent])


def _check_room(stick: Path, size: int) -> None:
    free = shutil.disk_usage(stick).free
    if size > free:
        raise BundleError(
            sentence(
                "%(stick)s has room for %(free)s MB, and %(size)s MB are to be written.",
                stick=str(stick),
                free=free >> 20,
                size=(size >> 20) + 1,
            )
        )
