"""What a version of the software holds: our wheel, all that it needs, pip, and the installer.

Everything lies in the bundle as it lies on a stick, so that a stick is a bundle laid out.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import parse_wheel_filename

from lms.outposts.environments.requirements import Requirement, Requirements
from lms.outposts.software.kinds import Kind, all_kinds, this_kind
from lms.outposts.software.shelf import OURS, Shelf, SoftwareError
from lms.protocol.sentences import sentence

#: The key under which the software is signed; no course may have it.
SOFTWARE = "seodang-software"
#: Folder of everything but the installer, in the bundle and on a stick.
FOLDER = "software"
INSTALLER = "install.sh"
#: What bytecode and the file system take beside the files themselves.
_ROOM = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """One version, ready to be put into a bundle."""

    version: str
    #: Folder that it is installed into: the version, and which of its builds.
    name: str
    #: The machines that the wheels serve.
    kinds: tuple[Kind, ...]
    files: Mapping[str, Path]


def gather(wheels: Path, scratch: Path) -> Software:
    """Return what the wheels in a folder make; small files are written to `scratch`.

    Raises SoftwareError with what lacks for a machine like this one, where none can be served.
    """
    shelf = Shelf(wheels)
    served = _served(shelf)
    if not served:
        # Why not: in the words of what lacks here.
        shelf.closure(this_kind())
    pins = list(dict.fromkeys(one for chosen in served.values() for one in chosen))
    version = str(parse_wheel_filename(shelf.own.name)[1])
    requirements = (
        f"{OURS}=={version} --hash=sha256:{_digest(shelf.own)}\n"
        f"{Requirements(packages=tuple(pins)).text}"
    )
    build = hashlib.sha256(requirements.encode()).hexdigest()[:8]
    wanted = [shelf.own, _pip(shelf), *(path for pin in pins for path in shelf.wheels(pin))]
    software = Software(
        version=version,
        name=f"{version}-{build}",
        kinds=tuple(served),
        files={path.name: path for path in wanted},
    )
    return _with_small_files(software, requirements, scratch)


def _served(shelf: Shelf) -> dict[Kind, list[Requirement]]:
    served = {}
    for kind in all_kinds():
        try:
            served[kind] = shelf.closure(kind)
        except SoftwareError:
            continue
    return served


def _pip(shelf: Shelf) -> Path:
    found = [path for pin in shelf.lock.packages if pin.name == "pip" for path in shelf.wheels(pin)]
    if not found:
        raise SoftwareError(
            sentence(
                "%(folder)s has no wheel of pip that requirements.lock names.",
                folder=str(shelf.folder),
            )
        )
    return found[0]


def _with_small_files(software: Software, requirements: str, scratch: Path) -> Software:
    about = [f"name {software.name}", f"version {software.version}"]
    about.append(f"kilobytes {_kilobytes(software.files.values())}")
    about += [f"python {kind} glibc" for kind in software.kinds]
    files = dict(software.files)
    for name, text in (
        ("requirements.txt", requirements),
        ("about", "\n".join(about) + "\n"),
    ):
        files[name] = scratch / name
        files[name].write_text(text, "utf-8")
    sums = scratch / "SHA256SUMS"
    sums.write_text("".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files)))
    files[sums.name] = sums
    return Software(
        version=software.version,
        name=software.name,
        kinds=software.kinds,
        files={
            INSTALLER: Path(__file__).with_name(INSTALLER),
            **{f"{FOLDER}/{name}": path for name, path in files.items()},
        },
    )


def _kilobytes(wheels: Iterable[Path]) -> int:
    size = 0
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            size += sum(one.file_size for one in archive.infolist())
    return int(size * _ROOM) // 1024 + 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
