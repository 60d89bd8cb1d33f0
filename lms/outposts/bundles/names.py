"""Which paths a bundle may hold: the same on every system, and none outside its folder."""

import re
import unicodedata
from collections.abc import Iterable

from lms.outposts.bundles.problems import HostileError
from lms.protocol.sentences import sentence

_LONGEST_PART, _LONGEST_PATH, _DEEPEST = 255, 1024, 32
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE
)
_COURSE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: Names that the metadata folder needs for itself.
_ROLES = frozenset({"root", "targets", "snapshot", "timestamp"})


def check_course(course: str) -> str:
    """Return the key of a course; raises HostileError when it cannot be a folder and a role."""
    if not _COURSE.fullmatch(course) or course in _ROLES or _RESERVED.fullmatch(course):
        raise HostileError(
            sentence(
                "%(course)s cannot be a course's key in a bundle: use small letters, digits, - "
                "and _.",
                course=course[:80],
            )
        )
    return course


def check_path(path: str) -> str:
    """Return a path that is relative, plain and the same everywhere; raises HostileError."""
    parts = path.split("/")
    bad = (
        not path
        or len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH
        or len(parts) > _DEEPEST
        or _FORBIDDEN.search(path) is not None
        or any("\ud800" <= character <= "\udfff" for character in path)
        or unicodedata.normalize("NFC", path) != path
        or any(_bad_part(part) for part in parts)
    )
    if bad:
        raise HostileError(
            sentence("The path %(path)s may not be in a bundle.", path=ascii(path[:120]))
        )
    return path


def _bad_part(part: str) -> bool:
    return (
        part in ("", ".", "..")
        or part[-1] in ". "
        or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART
        or _RESERVED.fullmatch(part) is not None
    )


def check_paths(paths: Iterable[str]) -> None:
    """Check each path and that no two fall together on a disk that folds case or form."""
    spelled: dict[str, str] = {}
    files: set[str] = set()
    for path in paths:
        check_path(path)
        folded = _fold(path)
        if folded in files:
            raise _twins(path, spelled[folded])
        files.add(folded)
        whole = ""
        for part in path.split("/"):
            whole = f"{whole}/{part}" if whole else part
            first = spelled.setdefault(_fold(whole), whole)
            if first != whole:
                raise _twins(path, first)
    for path in files:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise _twins(spelled[path], spelled[parent])
            parent = parent.rpartition("/")[0]


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _twins(one: str, other: str) -> HostileError:
    return HostileError(
        sentence(
            "The paths %(one)s and %(other)s cannot lie beside each other on every disk.",
            one=ascii(one[:120]),
            other=ascii(other[:120]),
        )
    )
