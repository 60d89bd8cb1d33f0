"""Sizes of notebook servers and who may take which; decided from values alone."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

#: Groups of people who teach, as patterns of the LMS's group names.
TEACHING = ("administrators", "offering:*:instructor", "offering:*:grader")


class ProfileError(Exception):
    """A server was asked for that the person may not have; the message is for the person."""

    def __init__(self, korean: str, english: str) -> None:
        super().__init__(f"{korean} {english}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A size of notebook server."""

    key: str
    memory_bytes: int
    processes: int
    #: Of 100 for one processor; 0 for as much as others leave.
    cpu_percent: int = 0
    #: What the home may hold; 0 for no limit.
    disk_bytes: int = 0
    #: How long a server that is a Slurm job lasts at most; 0 for as long as its terms say. A GPU
    #: profile's cap is that of its leases, since a server holds no GPU.
    cap_minutes: int = 0
    #: Patterns of group names; empty means everyone.
    groups: tuple[str, ...] = ()


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read profiles.toml; the first profile is the default. Raises ValueError on a bad file."""
    tables = tomllib.loads(path.read_text(encoding="utf-8")).get("profile")
    if not isinstance(tables, dict) or not tables:
        raise ValueError(f"{path} names no profile")
    return {
        key: Profile(
            key=key,
            memory_bytes=int(table["memory_mb"]) << 20,
            processes=int(table["processes"]),
            cpu_percent=int(100 * table.get("cpus", 0)),
            disk_bytes=int(table.get("disk_mb", 0)) << 20,
            cap_minutes=0 if "gpu" in table else int(table.get("cap_minutes", 0)),
            groups=tuple(table.get("groups", ())),
        )
        for key, table in tables.items()
    }


def choose_profile(
    profiles: Mapping[str, Profile], options: object, groups: Iterable[str]
) -> Profile:
    """Return the profile that `options` ask for; raises ProfileError unless `groups` may have it.

    Whoever holds a token can send any JSON as options, so nothing about them is taken on trust.
    """
    if not isinstance(options, Mapping) or not set(options) <= {"profile"}:
        raise ProfileError(
            "노트북 서버를 열 때는 프로필만 고를 수 있어요.",
            "A notebook server takes no options but a profile.",
        )
    key = options.get("profile", next(iter(profiles)))
    # A link's query sends every value as a list.
    if isinstance(key, list) and len(key) == 1:
        key = key[0]
    profile = profiles.get(key) if isinstance(key, str) else None
    if profile is None:
        raise ProfileError(
            "그런 이름의 프로필은 없어요. “내 컴퓨팅”에 있는 프로필로 시작해 주세요.",
            "There is no profile of that name; “My compute” lists those there are.",
        )
    if not is_open_to(groups, profile.groups):
        raise ProfileError(
            "이 프로필은 내 계정으로 쓸 수 없어요. 선생님에게 물어보세요.",
            "Your account may not use this profile; ask your instructor.",
        )
    return profile


def groups_teach(groups: Iterable[str]) -> bool:
    """Say whether someone in `groups` teaches anything."""
    return is_open_to(groups, TEACHING)


def is_open_to(groups: Iterable[str], patterns: tuple[str, ...]) -> bool:
    """Say whether somebody in `groups` may have what is for `patterns`; none means everyone."""
    return not patterns or any(
        fnmatchcase(group, pattern) for group in groups for pattern in patterns
    )
