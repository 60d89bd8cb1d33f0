"""Kinds of machines that wheels can be for: a Python and a processor, on Linux with glibc."""

import platform
import sys
from dataclasses import dataclass

from packaging.markers import default_environment
from packaging.tags import Tag, compatible_tags, cpython_tags

_PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
_MACHINES = ("x86_64", "aarch64")
#: The newest glibc that wheels are looked for; pip decides on the machine itself.
_GLIBC = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of machine."""

    python: tuple[int, int]
    machine: str

    def __str__(self) -> str:
        return f"{self.python[0]}.{self.python[1]} {self.machine}"

    def environment(self, extra: str = "") -> dict[str, str]:
        """Return what environment markers ask for."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            **{key: str(value) for key, value in default_environment().items()},
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self._full_version(),
            "python_version": version,
            "sys_platform": "linux",
            "extra": extra,
        }

    def tags(self) -> frozenset[Tag]:
        """Return the tags of wheels that such a machine takes."""
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in range(_GLIBC, 4, -1)]
        platforms += [f"{old}_{self.machine}" for old in ("manylinux2014", "manylinux1", "linux")]
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        own = cpython_tags(self.python, platforms=platforms)
        return frozenset((*own, *compatible_tags(self.python, interpreter, platforms)))

    def _full_version(self) -> str:
        # Only this machine's own patch level is known; of the others, the newest is assumed.
        if self.python == sys.version_info[:2]:
            return platform.python_version()
        return f"{self.python[0]}.{self.python[1]}.99"


def this_kind() -> Kind:
    """Return the kind of this machine."""
    return Kind(python=(sys.version_info[0], sys.version_info[1]), machine=platform.machine())


def all_kinds() -> list[Kind]:
    """Return the kinds that the software may be built for."""
    return [Kind(python=python, machine=one) for python in _PYTHONS for one in _MACHINES]
