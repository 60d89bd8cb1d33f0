"""Figures out of what was measured: medians over the alternations, with their spread."""

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from lms.cli.bench.measure import MODES, Measured, Turn

Spread = dict[str, float]


def spread_of(values: Iterable[float]) -> Spread:
    """Return median, least and most."""
    listed = sorted(values)
    return {"median": median(listed), "min": listed[0], "max": listed[-1]}


def figures_of(measured: Measured) -> dict[str, Any]:
    """Return the figures of one assignment, as JSON values."""
    turns = measured.turns
    return {
        "submissions": measured.submissions,
        "alternations": len(turns),
        "cells_compared": measured.compared,
        "score_differences": measured.different,
        "verified_share": measured.verified / measured.submissions,
        "nbgrader": _speed(turns, lambda turn: turn.nbgrader),
        "bare": _speed(turns, lambda turn: turn.bare["all"]),
        **{mode: _mode(turns, mode) for mode in MODES},
    }


def _mode(turns: list[Turn], mode: str) -> dict[str, Any]:
    figures = _speed(turns, lambda turn: turn.ours[mode]["all"])
    figures["times_nbgrader"] = spread_of(turn.nbgrader / turn.ours[mode]["all"] for turn in turns)
    figures["times_bare"] = spread_of(
        turn.ours[mode]["all"] / turn.bare["all"] for turn in turns if turn.bare["all"]
    )
    for kind, name in (("clean", ""), ("erring", "_with_errors")):
        over = [turn.ours[mode][kind] - turn.bare[kind] for turn in turns if kind in turn.bare]
        figures[f"overhead_over_bare_seconds{name}"] = spread_of(over) if over else None
    return figures


def _speed(turns: list[Turn], cost: Callable[[Turn], float]) -> dict[str, Any]:
    seconds = [cost(turn) for turn in turns]
    return {
        "cpu_seconds_per_submission": spread_of(seconds),
        "submissions_per_second_core": spread_of(1 / second for second in seconds if second),
    }


def table_of(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures of a course's assignments, by name, as a table for people."""
    heads = (
        *("assignment", "engine", "CPU s", "(spread)", "per s and core", "x nbgrader", "x bare"),
        *("over bare", "with errors"),
    )
    rows: list[tuple[str, ...]] = [heads]
    rows += [
        _row(name, engine, found[engine])
        for name, found in figures.items()
        for engine in ("nbgrader", *MODES, "bare")
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(name: str, engine: str, found: dict[str, Any]) -> tuple[str, ...]:
    cost = found["cpu_seconds_per_submission"]
    return (
        name,
        engine,
        f"{cost['median']:.3f}",
        f"{cost['min']:.3f}-{cost['max']:.3f}",
        f"{found['submissions_per_second_core']['median']:.2f}",
        *(_median(found.get(key), ".1f") for key in ("times_nbgrader", "times_bare")),
        *(
            _median(found.get(f"overhead_over_bare_seconds{kind}"), ".3f")
            for kind in ("", "_with_errors")
        ),
    )


def _median(spread: Spread | None, form: str) -> str:
    return "" if spread is None else format(spread["median"], form)
