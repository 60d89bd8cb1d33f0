"""`lms course regrade`: grade what a changed assignment touches, look, then apply or discard."""

import json
from pathlib import Path

import click
from sqlalchemy.orm import Session

from lms.bootstrap import System, build
from lms.catalogue.course_file import read_course
from lms.catalogue.environments import keep, load_requirements
from lms.catalogue.errors import NotInCatalogueError
from lms.catalogue.loading import build_for
from lms.catalogue.models import Assignment
from lms.catalogue.publishing import stage
from lms.catalogue.service import get_course
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import load_settings
from lms.grading.models import RegradePlan
from lms.grading.regrades import (
    Preview,
    Shift,
    apply_plan,
    discard_plan,
    get_preview,
    plan_regrade,
)
from lms.identity.scopes import SYSTEM


@click.group()
def regrade() -> None:
    """Grade again exactly what a changed assignment touches; nothing changes until `apply`."""


@regrade.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("assignment")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def preview(path: Path, assignment: str, *, as_json: bool) -> None:
    """Queue what the files of ASSIGNMENT in PATH, a course folder, change for submissions.

    The files need not be published. Students see nothing of it; `lms course regrade show` says
    who would gain or lose once the worker has graded.
    """
    system = build(load_settings())
    course = read_course(path, today=clock.now().date())
    requirements = load_requirements(path, course)
    with transaction(system.sessions) as session:
        environment = "" if requirements is None else keep(system.blobs, requirements)
        found = _find(session, course.key, assignment)
        built = build_for(path, assignment, course.key, environment)
        now = clock.now()
        release = stage(session, system.blobs, found, built, actor=SYSTEM, now=now)
        plan = plan_regrade(session, system.blobs, release, actor=SYSTEM, now=now)
        shown = get_preview(session, plan.id, actor=SYSTEM)
        _print(shown, as_json=as_json)


@regrade.command()
@click.argument("plan", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def show(plan: int, *, as_json: bool) -> None:
    """Show what PLAN would do: who gains, who loses, and in which questions."""
    with build(load_settings()).sessions() as session:
        _print(get_preview(session, plan, actor=SYSTEM), as_json=as_json)


@regrade.command()
@click.argument("plan", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def apply(plan: int, *, as_json: bool) -> None:
    """Publish the release of PLAN and make its results the ones that count."""
    system = build(load_settings())
    with transaction(system.sessions) as session:
        applied = apply_plan(session, system.blobs, plan, actor=SYSTEM, now=clock.now())
        _print(applied, as_json=as_json)


@regrade.command()
@click.argument("plan", type=int)
def discard(plan: int) -> None:
    """Drop PLAN; every score stays as it is."""
    system: System = build(load_settings())
    with transaction(system.sessions) as session:
        discard_plan(session, plan, actor=SYSTEM, now=clock.now())
    click.echo(f"Regrade {plan} is discarded.")


def _find(session: Session, course: str, assignment: str) -> Assignment:
    for one in get_course(session, course).assignments:
        if one.key == assignment:
            return one
    raise NotInCatalogueError(assignment)


def _print(preview: Preview, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_document(preview), ensure_ascii=False, indent=2))
        return
    plan: RegradePlan = preview.plan
    click.echo(f"Regrade {plan.id}, release {preview.release.number}: {plan.state}")
    for change in plan.changes:
        place = ":".join(part for part in (change["notebook"], change["name"]) if part)
        click.echo(f"  changed: {change['kind']} {place}".rstrip())
    click.echo(
        f"{len(preview.shifts)} attempts touched, {preview.waiting} still to grade, "
        f"{preview.gaining} gain, {preview.losing} lose, {preview.held} would be held"
    )
    if preview.failing:
        click.echo(f"{preview.failing} could not be graded anew and keep their result:")
    for shift in preview.shifts:
        if shift.is_failed and shift.after is not None:
            click.echo(f"  {shift.person.username}: {shift.after.status.replace('_', ' ')}")
        elif shift.difference or shift.cells:
            cells = ", ".join(
                f"{cell.notebook}:{cell.grade_id} {_points(cell.before)} → {_points(cell.after)}"
                for cell in shift.cells
            )
            click.echo(f"  {shift.person.username}: {shift.difference:+g} ({cells})")


def _points(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"


def _document(preview: Preview) -> dict[str, object]:
    return {
        "plan": preview.plan.id,
        "state": preview.plan.state,
        "release": {"number": preview.release.number, "digest": preview.release.digest},
        "changes": preview.plan.changes,
        "touched": len(preview.shifts),
        "waiting": preview.waiting,
        "gaining": preview.gaining,
        "losing": preview.losing,
        "failing": preview.failing,
        "held": preview.held,
        "attempts": [_attempt(shift) for shift in preview.shifts],
    }


def _attempt(shift: Shift) -> dict[str, object]:
    return {
        "student": shift.person.username,
        "submission": shift.submission.id,
        "attempt": shift.submission.attempt,
        "before": shift.before.score,
        "after": shift.after.score if shift.after is not None and shift.is_ready else None,
        "difference": shift.difference,
        "failed": shift.is_failed,
        "cells": [
            {
                "notebook": cell.notebook,
                "grade_id": cell.grade_id,
                "before": cell.before,
                "after": cell.after,
            }
            for cell in shift.cells
        ],
    }
