"""What our own kernels need of a course's environment, so that no course can break them.

A course's packages come before ours on the path: what it pins wins, what it leaves out is taken
from the default environment. So the packages that a kernel is made of may be pinned at our own
version only, and whatever else a kernel needs must satisfy it.
"""

import functools
import importlib.metadata
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lms.outposts.environments import requirements as pinned
from lms.protocol.sentences import Sentence, sentence

#: We lean on how these work inside, not only on what they promise.
CORE = (
    "comm",
    "debugpy",
    "ipykernel",
    "ipython",
    "jupyter-client",
    "jupyter-core",
    "matplotlib-inline",
    "pyzmq",
    "tornado",
    "traitlets",
)
OURS = "seodang"
#: What every zygote imports where it is installed; conflicts among these end a build.
_ROOTS = ("ipykernel", "numpy", "pandas", "matplotlib", "scikit-learn", "torch")
#: Modules that only these packages may bring: zygotes import them, or Python does by itself.
_OWNERS = {
    "lms": OURS,
    "IPython": "ipython",
    "ipykernel": "ipykernel",
    "ipykernel_launcher": "ipykernel",
    "comm": "comm",
    "debugpy": "debugpy",
    "jupyter_client": "jupyter-client",
    "jupyter_core": "jupyter-core",
    "matplotlib_inline": "matplotlib-inline",
    "tornado": "tornado",
    "traitlets": "traitlets",
    "zmq": "pyzmq",
    "numpy": "numpy",
    "pandas": "pandas",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "sitecustomize": "",
    "usercustomize": "",
}

Installed = Mapping[str, importlib.metadata.Distribution]


def problems_with(requirements: pinned.Requirements) -> Iterator[Sentence]:
    """Yield a sentence for each package that would take the place of what our kernels need."""
    ours = installed(default_folders())
    needed = dict(_needs(ours, ["ipykernel"]))
    for one in requirements.here():
        version = ours[one.name].version if one.name in ours else ""
        if one.name == OURS or (one.name in CORE and one.version != version):
            yield sentence(
                "Line %(line)s: %(package)s %(version)s would take the place of our own kernel's "
                "%(ours)s; leave it out.",
                line=one.line,
                package=one.name,
                version=one.version,
                ours=version,
            )
            continue
        for user, wanted in needed.get(one.name, ()):
            if not wanted.specifier.contains(one.version, prereleases=True):
                yield sentence(
                    "Line %(line)s: %(package)s is pinned at %(version)s, but %(user)s, which "
                    "every kernel needs, wants %(wanted)s.",
                    line=one.line,
                    package=one.name,
                    version=one.version,
                    user=user,
                    wanted=str(wanted.specifier),
                )


def conflicts(packages: Path) -> Iterator[Sentence]:
    """Yield what does not fit together once `packages` lies before the default environment."""
    theirs = installed([packages])
    visible = {**installed(default_folders()), **theirs}
    yield from _shadows(theirs)
    for name, uses in _needs(visible, [*_ROOTS, *theirs]):
        found = visible.get(name)
        for user, wanted in uses:
            if found is None:
                yield sentence(
                    "%(user)s needs %(wanted)s, which is neither in the requirements nor in the "
                    "default environment.",
                    user=user,
                    wanted=_plain(wanted),
                )
            elif not wanted.specifier.contains(found.version, prereleases=True):
                yield sentence(
                    "%(user)s needs %(wanted)s, but there is %(package)s %(version)s.",
                    user=user,
                    wanted=_plain(wanted),
                    package=name,
                    version=found.version,
                )


def default_folders() -> list[Path]:
    """Return where the default environment's packages lie."""
    return [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]


@functools.lru_cache(maxsize=1)
def _default() -> Installed:
    return _installed(default_folders())


def installed(folders: Iterable[Path]) -> Installed:
    """Return the packages in these folders by name, each as the first folder has it."""
    wanted = list(folders)
    return _default() if wanted == default_folders() else _installed(wanted)


def _installed(folders: Iterable[Path]) -> Installed:
    found: dict[str, importlib.metadata.Distribution] = {}
    for one in importlib.metadata.distributions(path=list(dict.fromkeys(map(str, folders)))):
        found.setdefault(canonicalize_name(one.metadata["Name"]), one)
    return found


def _needs(
    visible: Installed, roots: Iterable[str]
) -> Iterator[tuple[str, list[tuple[str, Requirement]]]]:
    """Yield what `roots`, and what they need in turn, need: name, then who wants which version."""
    uses: dict[str, list[tuple[str, Requirement]]] = {}
    # A package with each set of extras it is asked for with.
    waiting = [(name, "") for name in roots if name in visible]
    seen = set(waiting)
    while waiting:
        user, extra = waiting.pop()
        for wanted in _requires(visible.get(user), extra):
            name = canonicalize_name(wanted.name)
            uses.setdefault(name, []).append((user, wanted))
            for more in ["", *wanted.extras]:
                if (name, more) not in seen:
                    seen.add((name, more))
                    waiting.append((name, more))
    yield from sorted(uses.items())


def _requires(found: importlib.metadata.Distribution | None, extra: str) -> Iterator[Requirement]:
    for text in (found.requires or ()) if found is not None else ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        without = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if extra:
            # Only what the extra adds; the rest is asked for without it.
            if (
                not without
                and wanted.marker is not None
                and wanted.marker.evaluate({"extra": extra})
            ):
                yield wanted
        elif without:
            yield wanted


def _plain(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _shadows(theirs: Installed) -> Iterator[Sentence]:
    """Yield modules that are not theirs to bring: Python's own, a kernel's, another package's."""
    for name, one in sorted(theirs.items()):
        for module in sorted(_modules(one)):
            owner = _OWNERS.get(module, name)
            if module in sys.stdlib_module_names or owner != name:
                yield sentence(
                    "%(package)s brings a module %(module)s, which would take the place of "
                    "another one that kernels need.",
                    package=name,
                    module=module,
                )


def _modules(one: importlib.metadata.Distribution) -> set[str]:
    """Return the names of the top-level modules and packages that a package brings."""
    names = set()
    for file in one.files or ():
        first = file.parts[0]
        if len(file.parts) > 1 and first.isidentifier():
            names.add(first)
        elif len(file.parts) == 1 and first.endswith((".py", ".so")):
            names.add(first.partition(".")[0])
    return names
