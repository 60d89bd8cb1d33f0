"""The service's status for people: parts, sandbox, and what the operator should know."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from lms.bootstrap.health import PartHealth, is_well, report
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import public
from lms.web.parts import State
from lms.web.system import current_system

bp = Blueprint("status", __name__)

_PARTS: Mapping[str, tuple[Sentence, Sentence]] = {
    "database": (sentence("Database"), sentence("Courses, people and results")),
    "blobs": (sentence("File store"), sentence("What is handed in is written here")),
    "hub": (sentence("Notebook Hub"), sentence("Starts notebook servers")),
    "worker": (sentence("Grading"), sentence("Takes submissions from the queue")),
    "sandbox": (sentence("Sandbox"), sentence("Keeps students' code apart while it is graded")),
}
_UP = State("check", "ok", sentence("Working"))
_WARNED = State("check", "wait", sentence("Working, with a limit"))
_DOWN = State("stop", "bad", sentence("Not working"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """One part of the system."""

    name: Sentence
    task: Sentence
    state: State
    reason: Sentence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """status.html."""

    is_well: bool
    down: int
    parts: tuple[PartRow, ...]
    warnings: tuple[Sentence, ...]


@bp.get("/status")
@public
def show() -> ResponseReturnValue:
    """Show how every part is; the page itself answers 200 whatever it has to say."""
    system = current_system()
    parts = report(system)
    page = StatusPage(
        is_well=is_well(parts),
        down=sum(not part.ok for part in parts),
        parts=tuple(map(part_row, parts)),
        warnings=tuple(_warnings(unsafe=system.settings.unsafe_grading)),
    )
    return render_template("status.html", page=page)


def part_row(part: PartHealth) -> PartRow:
    """Return how one part is, in words."""
    name, task = _PARTS.get(part.name, (sentence("Part"), sentence("Another part")))
    working = _WARNED if part.reason else _UP
    return PartRow(name=name, task=task, state=working if part.ok else _DOWN, reason=part.reason)


def _warnings(*, unsafe: bool) -> list[Sentence]:
    warnings = []
    if not runs_separated():
        warnings.append(
            sentence(
                "Seodang was not started as root, so all notebook servers share one user of the "
                "operating system: people's notebook files are not kept from one another. "
                "Start it as root to give each person an own user."
            )
        )
    if unsafe:
        warnings.append(
            sentence(
                "LMS_UNSAFE_GRADING is on: where no sandbox is available, students' code is "
                "graded without one, and every such result is marked."
            )
        )
    return warnings


def runs_separated() -> bool:
    """Say whether the supervisor is root: then it has given this process another user."""
    # The web part drops to its own reserved uid only when the whole system was started as root.
    return os.getuid() == 0 or os.getuid() == current_system().settings.uids.web
