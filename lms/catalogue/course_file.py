"""course.toml and programmes.toml parsed into plain values; what is wrong is named by its place.

The format is described in docs/reference/course-files.md.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from lms.catalogue.errors import CourseFileError
from lms.catalogue.limits import problem_with
from lms.foundation.bilingual import Bilingual

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MODES = frozenset({"open", "code", "approval"})
_RESOURCES = frozenset({"cpu", "gpu"})
_LEVELS = frozenset({"foundation", "bachelor", "graduate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """One unit as course.toml declares it."""

    key: str
    file: str
    title: Bilingual
    summary: Bilingual
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentFile:
    """One assignment as course.toml declares it."""

    key: str
    title: Bilingual
    summary: Bilingual
    unit: str
    minutes: int
    limits: dict[str, int]
    resource: str
    #: Until when its source travels closed to centres; None: it travels as it is.
    sealed_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingFile:
    """One offering as course.toml declares it."""

    key: str
    term: str
    title: Bilingual
    starts_on: date
    ends_on: date
    enrolment: str
    code: str | None
    capacity: int | None
    due: dict[str, datetime]
    #: None where the file does not say: then whatever was set elsewhere stays.
    practice: bool | None
    #: Keys of the assignments that are exams here; None where the file does not say.
    exams: list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseFile:
    """A whole course.toml."""

    key: str
    code: str
    title: Bilingual
    summary: Bilingual
    level: str
    credits: int
    contact_hours: int
    study_hours: int
    languages: list[str]
    tags: list[str]
    prerequisites: list[str]
    outcomes: list[dict[str, Any]]
    compute: dict[str, Any]
    #: File with the requirements of its environment; empty: the default environment.
    environment: str
    units: list[UnitFile]
    assignments: list[AssignmentFile]
    offerings: list[OfferingFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeFile:
    """One programme of programmes.toml."""

    key: str
    title: Bilingual
    summary: Bilingual
    kind: str
    credits: int
    required: list[str]
    path: list[list[str]]


class Table:
    """A TOML table that knows its place, so that an error names it."""

    def __init__(self, where: str, values: object) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise CourseFileError(where, "a table is needed here")
        self.values: dict[str, Any] = values

    def wrong(self, name: str, problem: str) -> CourseFileError:
        """Return the error that `name` in this table has `problem`."""
        return CourseFileError(f"{self.where}.{name}", problem)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "a text is needed")
        return value

    def key(self, name: str) -> str:
        """Return a key: letters, digits, dot, hyphen, underscore, at most 64."""
        value = self.text(name)
        if not _KEY.fullmatch(value):
            raise self.wrong(name, "a key has letters, digits, dots and hyphens, at most 64")
        return value

    def choice(self, name: str, allowed: frozenset[str], default: str) -> str:
        """Return one of `allowed`."""
        value = self.text(name, default)
        if value not in allowed:
            raise self.wrong(name, f"one of {', '.join(sorted(allowed))} is needed")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least 0."""
        value = self.values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "a whole number is needed")
        return value

    def flag(self, name: str) -> bool | None:
        """Return true or false, or None when it is missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false is needed")
        return value

    def both(self, name: str, default: Bilingual | None = None) -> Bilingual:
        """Return a text in both languages; one string serves both."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str):
            return Bilingual(ko=value, en=value)
        if not isinstance(value, dict) or not all(
            isinstance(value.get(k), str) for k in ("ko", "en")
        ):
            raise self.wrong(name, 'a text in both languages is needed: { ko = "…", en = "…" }')
        return Bilingual(ko=value["ko"], en=value["en"])

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, empty when it is missing."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of texts is needed")
        return list(value)

    def day(self, name: str) -> date:
        """Return a date."""
        value = self.values.get(name)
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self.wrong(name, "a date such as 2026-11-02 is needed")
        return value

    def instant(self, name: str) -> datetime | None:
        """Return a time with its offset, or None when it is missing."""
        value = self.values.get(name)
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise self.wrong(name, "a time with offset such as 2026-12-20T23:59:00+09:00 is needed")
        return value

    def table(self, name: str) -> "Table":
        """Return a table, empty when it is missing."""
        return Table(f"{self.where}.{name}", self.values.get(name, {}))

    def tables(self, name: str) -> list["Table"]:
        """Return an array of tables, empty when it is missing."""
        value = self.values.get(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, "a list of tables is needed")
        return [Table(f"{self.where}.{name}[{i}]", item) for i, item in enumerate(value)]


def read_course(folder: Path, *, today: date) -> CourseFile:
    """Read a course folder's course.toml, or make one up from nbgrader's layout alone.

    Raises CourseFileError.
    """
    file = folder / "course.toml"
    here = file.is_file()
    return parse_course(file.name, _toml(file)) if here else _from_layout(folder, today)


def read_programmes(file: Path) -> list[ProgrammeFile]:
    """Read programmes.toml; raises CourseFileError."""
    top = Table(file.name, _toml(file))
    return [_programme(table) for table in _named(top, "programme")]


def parse_course(where: str, document: Mapping[str, Any]) -> CourseFile:
    """Parse a course.toml document; raises CourseFileError."""
    top = Table(where, dict(document))
    course = top.table("course")
    hours = course.table("hours")
    parsed = CourseFile(
        key=course.key("key"),
        code=course.text("code", ""),
        title=course.both("title"),
        summary=course.both("summary", Bilingual(ko="", en="")),
        level=course.choice("level", _LEVELS, "foundation"),
        credits=course.number("credits", 0),
        contact_hours=hours.number("contact", 0),
        study_hours=hours.number("study", 0),
        languages=course.texts("languages"),
        tags=course.texts("tags"),
        prerequisites=course.texts("prerequisites"),
        outcomes=[_outcome(table) for table in course.tables("outcomes")],
        compute=course.table("compute").values,
        environment=_environment(course),
        units=[_unit(table) for table in top.tables("units")],
        assignments=[_assignment(table, course) for table in top.tables("assignments")],
        offerings=[_offering(table) for table in top.tables("offerings")],
    )
    _check_unique(where, parsed)
    return parsed


def _environment(course: Table) -> str:
    file = course.text("environment", "")
    if file and (not file.endswith((".txt", ".lock")) or not is_inside(file)):
        raise course.wrong("environment", "a .txt or .lock file inside the course is needed")
    return file


def is_inside(file: str) -> bool:
    """Say whether a path that a course's file names stays in the course's folder."""
    return not file.startswith("/") and ".." not in file.split("/")


def _outcome(table: Table) -> dict[str, Any]:
    text = table.both("text")
    return {
        "id": table.text("id"),
        "text": {"ko": text.ko, "en": text.en},
        "tested_by": table.texts("tested_by"),
    }


def _unit(table: Table) -> UnitFile:
    file = table.text("file")
    if not file.endswith((".ipynb", ".md")) or not is_inside(file):
        raise table.wrong("file", "a .ipynb or .md file inside the course is needed")
    return UnitFile(
        key=table.key("key"),
        file=file,
        title=table.both("title"),
        summary=table.both("summary", Bilingual(ko="", en="")),
        minutes=table.number("minutes", 0),
    )


def _assignment(table: Table, course: Table) -> AssignmentFile:
    limits = table.table("limits")
    values = {name: limits.number(name) for name in limits.values}
    problem = problem_with(values)
    if problem is not None:
        raise limits.wrong(*problem)
    profile = str(course.table("compute").values.get("profile", ""))
    return AssignmentFile(
        key=table.key("key"),
        title=table.both("title"),
        summary=table.both("summary", Bilingual(ko="", en="")),
        unit=table.text("unit", ""),
        minutes=table.number("minutes", 0),
        limits=values,
        resource=table.choice(
            "resource", _RESOURCES, "gpu" if profile.startswith("gpu") else "cpu"
        ),
        sealed_until=table.instant("sealed_until"),
    )


def _offering(table: Table) -> OfferingFile:
    mode = table.choice("enrolment", _MODES, "open")
    code = table.text("code", "") or None
    if mode == "code" and code is None:
        raise table.wrong("code", 'enrolment = "code" needs a code')
    starts_on, ends_on = table.day("starts_on"), table.day("ends_on")
    if ends_on < starts_on:
        raise table.wrong("ends_on", "the last day lies before the first")
    due = table.table("due")
    for name in due.values:
        due.instant(name)
    return OfferingFile(
        key=table.key("key"),
        term=table.text("term", ""),
        title=table.both("title"),
        starts_on=starts_on,
        ends_on=ends_on,
        enrolment=mode,
        code=code,
        capacity=table.number("capacity") if "capacity" in table.values else None,
        due=dict(due.values),
        practice=table.flag("practice"),
        exams=table.texts("exams") if "exams" in table.values else None,
    )


def _programme(table: Table) -> ProgrammeFile:
    path = table.values.get("path", [])
    if not isinstance(path, list) or not all(isinstance(term, list) for term in path):
        raise table.wrong("path", "a list of lists of course keys is needed")
    return ProgrammeFile(
        key=table.key("key"),
        title=table.both("title"),
        summary=table.both("summary", Bilingual(ko="", en="")),
        kind=table.text("kind", "certificate"),
        credits=table.number("credits", 0),
        required=table.texts("required"),
        path=[[str(key) for key in term] for term in path],
    )


def _named(top: Table, name: str) -> list[Table]:
    """Accept [[programmes]] with key, or [programme.<key>]."""
    tables = top.tables(name + "s")
    for key, values in top.table(name).values.items():
        named = Table(f"{top.where}.{name}.{key}", values)
        named.values.setdefault("key", key)
        tables.append(named)
    return tables


def _check_unique(where: str, course: CourseFile) -> None:
    for kind, keys in (
        ("units", [unit.key for unit in course.units]),
        ("assignments", [assignment.key for assignment in course.assignments]),
        ("offerings", [offering.key for offering in course.offerings]),
    ):
        for key in keys:
            if keys.count(key) > 1:
                raise CourseFileError(f"{where}.{kind}", f"two entries have the key {key}")
    known = {assignment.key for assignment in course.assignments}
    for offering in course.offerings:
        for place, keys in (("due", [*offering.due]), ("exams", offering.exams or [])):
            _check_known(f"{where}.offerings.{place}", keys, known)


def _check_known(where: str, keys: list[str], known: set[str]) -> None:
    for key in keys:
        if key not in known:
            raise CourseFileError(where, f"there is no assignment {key}")


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseFileError(file.name, str(error)) from error


def _from_layout(folder: Path, today: date) -> CourseFile:
    """Describe a plain nbgrader course: every folder in source/ is an assignment."""
    source = folder / "source"
    if not source.is_dir():
        raise CourseFileError(
            str(folder.name), "there is neither a course.toml nor a source folder"
        )
    key = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.") or "course"
    names = sorted(path.name for path in source.iterdir() if path.is_dir() and path.name[0] != ".")
    offering = {
        "key": key,
        "term": str(today.year),
        "title": str(today.year),
        "starts_on": today,
        "ends_on": today + timedelta(days=365),
        "enrolment": "approval",
    }
    document = {
        "course": {"key": key, "title": key, "compute": {"profile": "cpu"}},
        "assignments": [{"key": name, "title": name} for name in names],
        "offerings": [offering],
    }
    return parse_course(folder.name, document)
