"""The picture of a benchmark of grading: submissions a second and core, side by side."""

from pathlib import Path
from typing import Any

_ENGINES = {
    "nbgrader": ("nbgrader, one batch process", "#8a8f98"),
    "scored": ("this engine: sandboxed and scored", "#1f6feb"),
    "verified": ("this engine: sandboxed, scored, verified", "#0b3d91"),
}


def draw(path: Path, figures: dict[str, dict[str, Any]], note: str) -> None:
    """Write an SVG of the figures by assignment; whiskers are the spread of the alternations."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same figures give the same bytes, with text as text.
    with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 1.4 + 0.9 * len(figures)), layout="constrained")
        axes = figure.subplots()
        _bars(axes, figures)
        axes.set_xlabel("submissions a second and core (CPU time; more is better)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small", loc="best")
        figure.supxlabel(note, fontsize="x-small", color="#57606a")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(axes: Any, figures: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 (matplotlib's)
    height = 0.8 / len(_ENGINES)
    for place, (engine, (label, colour)) in enumerate(_ENGINES.items()):
        speeds = [found[engine]["submissions_per_second_core"] for found in figures.values()]
        medians = [speed["median"] for speed in speeds]
        spread = [
            [speed["median"] - speed["min"] for speed in speeds],
            [speed["max"] - speed["median"] for speed in speeds],
        ]
        rows = [row + place * height for row in range(len(figures))]
        bars = axes.barh(
            rows, medians, height, label=label, color=colour, xerr=spread, ecolor="#24292f"
        )
        axes.bar_label(bars, fmt="%.1f", padding=4, fontsize="small")
    axes.set_yticks([row + height for row in range(len(figures))], list(figures))
    axes.invert_yaxis()
