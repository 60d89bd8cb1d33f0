"""GPU profiles and their terms, as hub_config/profiles.toml has them; nothing here is a table."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from lms.compute.errors import NoSuchProfileError
from lms.compute.rules import Need
from lms.foundation.bilingual import Bilingual
from lms.foundation.resources import resource_dir
from lms.outposts.hub.profiles import is_open_to


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProfile:
    """A size that a kernel takes a lease for."""

    key: str
    title: Bilingual
    need: Need
    #: GPU-hours of quota that one hour costs.
    price: float = 1.0
    #: How long a lease lasts at most.
    cap: timedelta = timedelta(hours=4)
    #: How long it may hold a device without computing.
    idle: timedelta = timedelta(minutes=15)
    #: Patterns of group names; empty means everyone.
    groups: tuple[str, ...] = ()

    def is_open_to(self, groups: Iterable[str]) -> bool:
        """Say whether somebody in `groups` may take it."""
        return is_open_to(groups, self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Every GPU profile, and what a person has unless an operator says otherwise."""

    profiles: Mapping[str, GpuProfile]
    #: GPU-hours a person, offering and week.
    hours_a_week: float = 10.0
    #: GPU-hours a person and week for work in no course.
    hours_without_course: float = 2.0
    #: Leases a person may hold at once.
    at_once: int = 1

    def get(self, key: str) -> GpuProfile:
        """Return the profile; raises NoSuchProfileError."""
        if key not in self.profiles:
            raise NoSuchProfileError(key)
        return self.profiles[key]

    def of_need(self, need: Need) -> list[GpuProfile]:
        """Return the profiles of a need, as the file has them in order."""
        return [one for one in self.profiles.values() if one.need is need]


def read_terms(path: Path) -> Terms:
    """Read the file; raises ValueError naming what is wrong in it."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    quota = document.get("quota", {})
    profiles = {
        key: _profile(key, table, path)
        for key, table in document.get("profile", {}).items()
        if "gpu" in table
    }
    return Terms(
        profiles=profiles,
        hours_a_week=_number(quota, "hours_a_week", 10.0, path),
        hours_without_course=_number(quota, "hours_without_course", 2.0, path),
        at_once=int(_number(quota, "at_once", 1, path)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSize:
    """A size of notebook server; `gpu` is what kernels in it may lease."""

    key: str
    title: Bilingual
    memory_mb: int
    #: Processors; 0 for as many as others leave.
    cpus: float
    gpu: GpuProfile | None
    #: Patterns of group names; empty means everyone.
    groups: tuple[str, ...] = ()


@cache
def server_sizes() -> tuple[ServerSize, ...]:
    """Return every profile that has a title, in the file's order."""
    file = resource_dir("hub_config") / "profiles.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8")).get("profile", {})
    return tuple(
        ServerSize(
            key=key,
            title=Bilingual(ko=table["title"]["ko"], en=table["title"]["en"]),
            memory_mb=int(table.get("memory_mb", 0)),
            cpus=float(table.get("cpus", 0)),
            gpu=terms().profiles.get(key),
            groups=tuple(table.get("groups", ())),
        )
        for key, table in tables.items()
        if "title" in table
    )


@cache
def terms() -> Terms:
    """Return the terms of this process; an operator who changes the file restarts the parts."""
    return read_terms(resource_dir("hub_config") / "profiles.toml")


def title_of(key: str) -> Bilingual:
    """Return a profile's title; its key when the file no longer has it."""
    known = terms().profiles.get(key)
    return Bilingual(ko=key, en=key) if known is None else known.title


def _profile(key: str, table: Mapping[str, Any], path: Path) -> GpuProfile:
    try:
        need, title = Need(table["gpu"]), table["title"]
        named = Bilingual(ko=title["ko"], en=title["en"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f'{path}: profile {key} needs gpu = "whole" or "slice", and a title in ko and en'
        ) from None
    return GpuProfile(
        key=key,
        title=named,
        need=need,
        price=_number(table, "price", 1.0, path),
        cap=timedelta(minutes=_number(table, "cap_minutes", 240, path)),
        idle=timedelta(minutes=_number(table, "idle_minutes", 15, path)),
        groups=tuple(table.get("groups", ())),
    )


def _number(table: Mapping[str, Any], name: str, default: float, path: Path) -> float:
    value = table.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{path}: {name} must be a number above 0")
    return float(value)
