"""Where built environments lie, which there are, and how one goes away.

`<root>/<hex>/packages` holds what was installed, `environment.json` what it is. A folder appears
whole, by one rename, and is never changed; `<root>/kernels` has a kernelspec for each.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lms.outposts.environments.identity import environment_id, kernel_name
from lms.protocol.sentences import Sentence, sentence

#: Version of environment.json's form.
RECORD_FORMAT = 1
PACKAGES = "packages"
RECORD = "environment.json"
#: How the folder of a build under way is called; it is nobody's environment.
UNDER_WAY = ".building-"
_ID = re.compile(r"sha256:[0-9a-f]{64}")


class EnvironmentMissingError(Exception):
    """An environment is not built on this machine; the sentence says which, and what to do."""

    def __init__(self, name: str) -> None:
        self.sentence: Sentence = sentence(
            "The environment %(name)s is not built on this machine. An operator builds it with "
            "lms environment build.",
            name=name.removeprefix("sha256:")[:12],
        )
        super().__init__(str(self.sentence))


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One environment as its record describes it."""

    #: Of requirements, Python, platform and builder together.
    environment: str
    #: Of the requirements alone, as releases name them.
    requirements: str
    python: str
    platform: str
    builder: str
    #: `name==version`, sorted.
    packages: tuple[str, ...]
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"format": RECORD_FORMAT, **asdict(self), "packages": list(self.packages)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Rebuild a record; raises KeyError, TypeError or ValueError on what is not one."""
        names = {name: value[name] for name in cls.__dataclass_fields__}
        return cls(**{**names, "packages": tuple(value["packages"])})


class Environments:
    """The environments of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, environment: str) -> Path:
        """Return where an environment lies or would lie; raises ValueError on a malformed id."""
        if not _ID.fullmatch(environment):
            raise ValueError("an environment is named by sha256: and 64 hexadecimal digits")
        return self.root / environment.removeprefix("sha256:")

    def packages(self, environment: str) -> Path:
        """Return the folder with an environment's packages; raises EnvironmentMissingError."""
        folder = self.folder(environment)
        if not (folder / RECORD).is_file():
            raise EnvironmentMissingError(environment)
        return folder / PACKAGES

    def find(self, environment: str) -> Built | None:
        """Return what is known of an environment, or None when it is not built here."""
        try:
            return Built.from_json(json.loads((self.folder(environment) / RECORD).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def has(self, requirements: str) -> bool:
        """Say whether these requirements are built here, or need no building."""
        return not requirements or self.find(environment_id(requirements)) is not None

    def list(self) -> list[Built]:
        """Return every environment that is built here, in order of their requirements."""
        try:
            names = sorted(path.name for path in self.root.iterdir())
        except FileNotFoundError:
            return []
        found = [self.find(f"sha256:{name}") for name in names if _ID.fullmatch(f"sha256:{name}")]
        return sorted(
            (one for one in found if one), key=lambda one: (one.requirements, one.environment)
        )

    def remove(self, environment: str) -> None:
        """Remove an environment; raises EnvironmentMissingError."""
        built = self.find(environment)
        if built is None:
            raise EnvironmentMissingError(environment)
        with self.locked(environment):
            gone = self.root / f"{UNDER_WAY}{self.folder(environment).name}-{os.getpid()}"
            self.folder(environment).rename(gone)
            discard(gone)
        if not self.has(built.requirements):
            discard(self.kernelspec(built.requirements))

    def kernelspec(self, requirements: str) -> Path:
        """Return the folder of the kernelspec that notebooks with these requirements ask for."""
        return self.root / "kernels" / kernel_name(requirements)

    @contextlib.contextmanager
    def locked(self, environment: str) -> Iterator[None]:
        """Keep every other builder and remover of this environment waiting."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        # One file for ever: to remove it would let two in at once.
        path = self.root / f".{self.folder(environment).name}.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def discard(folder: Path) -> None:
    """Remove a folder that may be read-only; what is not there is gone already."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)  # noqa: PTH101 - os.walk's own
    shutil.rmtree(folder, ignore_errors=True)


def settle(folder: Path) -> int:
    """Make a finished folder read-only and readable for everybody; return its size in bytes."""
    size = 0
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(path, name)
            status = file.lstat()
            if stat.S_ISREG(status.st_mode):
                file.chmod(0o555 if status.st_mode & 0o100 else 0o444)
                size += status.st_size
        Path(path).chmod(0o555)
    return size
