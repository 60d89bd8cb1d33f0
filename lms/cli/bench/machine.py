"""What a figure was measured on: the machine, its load and the versions that matter."""

import importlib.metadata
import os
import platform
from pathlib import Path

#: Packages whose version a reader of a benchmark asks for; those not installed are left out.
_PACKAGES = (
    "seodang",
    "nbgrader",
    "nbclient",
    "nbconvert",
    "ipykernel",
    "ipython",
    "jupyter_client",
    "pyzmq",
    "numpy",
    "pandas",
    "matplotlib",
    "scikit-learn",
    "torch",
)


def machine() -> dict[str, object]:
    """Return the machine and the versions, as they stand in a benchmark's JSON."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": _versions(),
    }


def describe(facts: dict[str, object]) -> str:
    """Return `machine()` as a line or two for a table's foot."""
    versions = facts["versions"]
    named = versions.items() if isinstance(versions, dict) else ()
    packages = ", ".join(f"{name} {version}" for name, version in named)
    loads = facts["load_average"]
    load = loads[0] if isinstance(loads, list) else "?"
    return (
        f"{facts['cores']} cores of {facts['cpu']}, {facts['system']}, Python {facts['python']}, "
        f"load {load}\n{packages}"
    )


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
