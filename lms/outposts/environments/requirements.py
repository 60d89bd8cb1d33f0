"""A course's requirements: pip's own format with pins and hashes, read strictly.

`pip-compile --generate-hashes` and `uv pip compile --generate-hashes` write such files. Nothing in
them but pinned packages is taken: no addresses, no other files, no options.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lms.protocol.sentences import Sentence, sentence

#: The largest file that is read, and the most packages in it.
FILE_BYTES = 4 << 20
PACKAGES = 2_000

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[A-Za-z0-9._,\s-]*\])?\s*"
    r"(?:==\s*(?P<version>[^\s;,=*]+))?\s*(?:;\s*(?P<marker>.+))?"
)
#: A package that is asked for in any version, or in a range of them.
_LOOSE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*([<>~!,]|==[^-]*\*)")
_HASH = re.compile(r"--hash[=\s](?P<hash>\S+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
#: What tools write into such files and what we do anyway.
_REPEATED = frozenset({"--require-hashes", "--no-deps", "--only-binary :all:"})
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One package at one version, in any of the files that the hashes name."""

    #: As packaging's canonicalize_name writes it.
    name: str
    version: str
    #: For which machines, as an environment marker; empty: for all.
    marker: str = ""
    #: `sha256:<hex>` and the like, sorted.
    hashes: tuple[str, ...]
    line: int = 0

    @property
    def is_meant_here(self) -> bool:
        """Whether this interpreter is one of those that it is for."""
        return not self.marker or Marker(self.marker).evaluate()

    def __str__(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        return " ".join(
            [f"{self.name}=={self.version}{marker}", *map("--hash={}".format, self.hashes)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A whole file; two files that ask for the same have the same digest."""

    packages: tuple[Requirement, ...]

    @property
    def text(self) -> str:
        """The file in its canonical form: sorted, without comments."""
        return "".join(f"{line}\n" for line in sorted({str(one) for one in self.packages}))

    @property
    def digest(self) -> str:
        """The digest of the canonical form."""
        return "sha256:" + hashlib.sha256(self.text.encode()).hexdigest()

    def here(self) -> tuple[Requirement, ...]:
        """Return the packages that are meant for this interpreter and machine."""
        return tuple(one for one in self.packages if one.is_meant_here)


class RequirementsError(Exception):
    """A file that cannot be used; `problems` has a sentence for each thing to mend."""

    def __init__(self, problems: list[Sentence]) -> None:
        super().__init__(" ".join(map(str, problems)))
        self.problems = problems


def parse(content: bytes) -> Requirements:
    """Read a requirements file; raises RequirementsError with everything that is wrong."""
    problems: list[Sentence] = []
    packages: list[Requirement] = []
    for number, line in _logical_lines(_text(content)):
        try:
            packages += _parse_line(number, line)
        except _LineError as error:
            problems.append(error.sentence)
    problems += _doubled(packages)
    if not packages and not problems:
        problems.append(sentence("The requirements name no package."))
    if len(packages) > PACKAGES:
        problems.append(
            sentence("The requirements name more than %(count)s packages.", count=PACKAGES)
        )
    if problems:
        raise RequirementsError(problems)
    return Requirements(packages=tuple(packages))


class _LineError(Exception):
    def __init__(self, problem: Sentence) -> None:
        super().__init__(str(problem))
        self.sentence = problem


def _text(content: bytes) -> str:
    try:
        if len(content) <= FILE_BYTES:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise RequirementsError([sentence("The requirements are not a text file of at most 4 MB.")])


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, continued ones joined, without comments."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        plain = re.sub(r"(^|\s)#.*$", "", line).strip()
        first = first if parts else number
        parts.append(plain.removesuffix("\\").strip())
        if not plain.endswith("\\"):
            yield first, " ".join(filter(None, parts))
            parts = []
    if parts:
        yield first, " ".join(filter(None, parts))


def _parse_line(number: int, line: str) -> list[Requirement]:
    if not line or line in _REPEATED:
        return []
    hashes = sorted({match["hash"].lower() for match in _HASH.finditer(line)})
    spec = _HASH.sub("", line).strip()
    match = _PINNED.fullmatch(spec)
    if match is None:
        named = _LOOSE.match(spec)
        raise _unpinned(number, named["name"]) if named else _no_package(number, line)
    if match["version"] is None:
        raise _unpinned(number, match["name"])
    _check_hashes(number, match["name"], hashes)
    return [
        Requirement(
            name=canonicalize_name(match["name"]),
            version=_version(number, match["name"], match["version"]),
            marker=_marker(number, match["name"], match["marker"]),
            hashes=tuple(hashes),
            line=number,
        )
    ]


def _no_package(number: int, line: str) -> _LineError:
    return _LineError(
        sentence(
            "Line %(line)s: “%(text)s” is no pinned package; addresses, other files and "
            "options are not taken here.",
            line=number,
            text=line[:_SHOWN],
        )
    )


def _unpinned(number: int, name: str) -> _LineError:
    return _LineError(
        sentence(
            "Line %(line)s: %(package)s has no exact version; write %(package)s==… with the "
            "version you teach with.",
            line=number,
            package=name,
        )
    )


def _check_hashes(number: int, name: str, hashes: list[str]) -> None:
    if not hashes:
        raise _LineError(
            sentence(
                "Line %(line)s: %(package)s has no hash; uv pip compile --generate-hashes "
                "writes them.",
                line=number,
                package=name,
            )
        )
    for one in hashes:
        if not _DIGEST.fullmatch(one):
            raise _LineError(
                sentence(
                    "Line %(line)s: %(package)s has the hash “%(hash)s”, which is no sha256, "
                    "sha384 or sha512.",
                    line=number,
                    package=name,
                    hash=one[:_SHOWN],
                )
            )


def _version(number: int, name: str, text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        raise _unpinned(number, name) from None


def _marker(number: int, name: str, text: str | None) -> str:
    if not text:
        return ""
    try:
        return str(Marker(text))
    except InvalidMarker:
        raise _LineError(
            sentence(
                "Line %(line)s: the condition “%(text)s” of %(package)s cannot be read.",
                line=number,
                package=name,
                text=text[:_SHOWN],
            )
        ) from None


def _doubled(packages: list[Requirement]) -> Iterator[Sentence]:
    """Yield packages that are asked for twice on this machine."""
    seen: dict[str, Requirement] = {}
    for one in packages:
        if not one.is_meant_here:
            continue
        first = seen.setdefault(one.name, one)
        if first is not one:
            yield sentence(
                "Line %(line)s: %(package)s stands in line %(first)s already.",
                line=one.line,
                package=one.name,
                first=first.line,
            )
