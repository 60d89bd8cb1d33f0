"""A folder of wheels, looked through before anything is installed: what lacks is said by name."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from packaging.tags import Tag, sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from lms.outposts.environments.requirements import Requirement, Requirements
from lms.protocol.sentences import Sentence, sentence

_CHUNK = 1 << 20


def lacking(requirements: Requirements, folder: Path) -> Iterator[Sentence]:
    """Yield a sentence for each package that the wheels in `folder` do not serve."""
    here = frozenset(sys_tags())
    found: dict[tuple[str, Version], list[tuple[Path, frozenset[Tag]]]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        found.setdefault((name, version), []).append((path, tags))
    for one in requirements.here():
        wheels = found.get((one.name, Version(one.version)), [])
        fitting = [path for path, tags in wheels if tags & here]
        facts = {"package": one.name, "version": one.version, "folder": str(folder)}
        if not wheels:
            yield sentence("There is no wheel of %(package)s %(version)s in %(folder)s.", **facts)
        elif not fitting:
            yield sentence(
                "The wheels of %(package)s %(version)s in %(folder)s are for another Python or "
                "another machine.",
                **facts,
            )
        elif not any(_is_meant(path, one) for path in fitting):
            yield sentence(
                "The wheel of %(package)s %(version)s in %(folder)s is not the one that the "
                "requirements name: its hash differs.",
                **facts,
            )


def named(requirements: Requirements, folder: Path) -> dict[str, Path]:
    """Return the wheels in `folder` that the requirements name, for any machine, by file name."""
    wanted = {(one.name, Version(one.version)): one for one in requirements.packages}
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        one = wanted.get((name, version))
        if one is not None and _is_meant(path, one):
            found[path.name] = path
    return found


def _is_meant(path: Path, one: Requirement) -> bool:
    kinds = {digest.partition(":")[0] for digest in one.hashes}
    sums = {kind: hashlib.new(kind) for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for each in sums.values():
                each.update(chunk)
    return any(f"{kind}:{each.hexdigest()}" in one.hashes for kind, each in sums.items())
