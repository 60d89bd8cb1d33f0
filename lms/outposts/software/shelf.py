"""A folder of wheels and the lock that names them: what each kind of machine needs of it."""

import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement as Wanted
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from lms.outposts.environments.requirements import (
    Requirement,
    Requirements,
    RequirementsError,
    parse,
)
from lms.outposts.environments.wheels import named
from lms.outposts.software.kinds import Kind
from lms.protocol.sentences import Sentence, sentence

#: The file in a folder of wheels that says which versions and hashes.
LOCK = "requirements.lock"
#: The name of our own distribution.
OURS = "seodang"


class SoftwareError(Exception):
    """A folder of wheels that makes no installation."""

    def __init__(self, problem: Sentence) -> None:
        super().__init__(str(problem))
        self.sentence = problem


class Shelf:
    """The wheels that the lock names, each compared with its hash, and our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = _read_lock(folder)
        self.own = _own_wheel(folder)
        self._wheels: dict[tuple[str, Version], list[Path]] = {}
        self._asked: dict[Path, tuple[str, ...]] = {}
        for name, path in named(self.lock, folder).items():
            project, version, _, _ = parse_wheel_filename(name)
            self._wheels.setdefault((project, version), []).append(path)

    def wheels(self, pin: Requirement) -> list[Path]:
        """Return the wheels of a pin, for any machine."""
        return self._wheels.get((pin.name, Version(pin.version)), [])

    def closure(self, kind: Kind) -> list[Requirement]:
        """Return the pins that a kind of machine needs; raises SoftwareError for what lacks."""
        marked = kind.environment()
        pins = {
            one.name: one
            for one in self.lock.packages
            if not one.marker or Marker(one.marker).evaluate(marked)
        }
        waiting: list[tuple[Path, str, str]] = [(self.own, OURS, "")]
        chosen: dict[str, Requirement] = {}
        seen: set[tuple[str, str]] = set()
        while waiting:
            path, asking, extra = waiting.pop()
            for wanted in self._requires(path, kind.environment(extra)):
                pin = self._pin(pins, wanted, asking)
                chosen[pin.name] = pin
                wheel = self._fitting(pin, kind)
                for more in ("", *sorted(wanted.extras)):
                    if (pin.name, more) not in seen:
                        seen.add((pin.name, more))
                        waiting.append((wheel, pin.name, more))
        return list(chosen.values())

    def _pin(self, pins: dict[str, Requirement], wanted: Wanted, asking: str) -> Requirement:
        pin = pins.get(canonicalize_name(wanted.name))
        if pin is None or not wanted.specifier.contains(pin.version, prereleases=True):
            raise SoftwareError(
                sentence(
                    "%(asking)s needs %(package)s, which requirements.lock does not name: run "
                    "make wheels again.",
                    asking=asking,
                    package=f"{wanted.name}{wanted.specifier}",
                )
            )
        return pin

    def _requires(self, wheel: Path, environment: dict[str, str]) -> Iterator[Wanted]:
        if wheel not in self._asked:
            self._asked[wheel] = _required(wheel)
        for text in self._asked[wheel]:
            wanted = Wanted(text)
            if wanted.marker is None or wanted.marker.evaluate(environment):
                yield wanted

    def _fitting(self, pin: Requirement, kind: Kind) -> Path:
        taken = kind.tags()
        for path in self.wheels(pin):
            if parse_wheel_filename(path.name)[3] & taken:
                return path
        raise SoftwareError(
            sentence(
                "%(folder)s has no wheel of %(package)s %(version)s for Python %(kind)s that "
                "requirements.lock names.",
                folder=str(self.folder),
                package=pin.name,
                version=pin.version,
                kind=str(kind),
            )
        )


def _read_lock(folder: Path) -> Requirements:
    try:
        return parse((folder / LOCK).read_bytes())
    except OSError as error:
        raise SoftwareError(
            sentence(
                "%(folder)s has no requirements.lock: fill it with make wheels.",
                folder=str(folder),
            )
        ) from error
    except RequirementsError as error:
        raise SoftwareError(error.problems[0]) from error


def _own_wheel(folder: Path) -> Path:
    found = sorted(folder.glob(f"{OURS}-*.whl"))
    if len(found) != 1:
        raise SoftwareError(
            sentence(
                "%(folder)s must hold one wheel of the software itself and holds %(count)s: fill "
                "it with make wheels.",
                folder=str(folder),
                count=len(found),
            )
        )
    return found[0]


def _required(wheel: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
                headers = message_from_bytes(archive.read(name))
                return tuple(headers.get_all("Requires-Dist", []))
    return ()
