"""What an author may set as the limits of grading: whole numbers within reason."""

from collections.abc import Mapping
from dataclasses import fields

from lms.protocol.grading import Limits

_MB = 1 << 20
#: Limit -> the least and the most that makes sense. Below, not even a kernel starts or a page is
#: written; above, one notebook would keep a machine from everybody else.
BOUNDS: Mapping[str, tuple[int, int]] = {
    "cell_seconds": (1, 6 * 3600),
    "wall_seconds": (5, 24 * 3600),
    "memory_bytes": (256 * _MB, 1 << 40),
    "processes": (16, 4096),
    "output_bytes": (64 << 10, 1 << 30),
    "disk_bytes": (_MB, 1 << 40),
}


def problem_with(limits: Mapping[str, int]) -> tuple[str, str] | None:
    """Return which of an assignment's limits cannot be used and why, or None when all can."""
    known = {field.name for field in fields(Limits)}
    for name, value in limits.items():
        if name not in known:
            return name, f"no such limit; there are {', '.join(sorted(known))}"
        low, high = BOUNDS[name]
        if not low <= value <= high:
            return name, f"a whole number from {low} to {high} is needed"
    whole = Limits(**limits)
    if whole.cell_seconds > whole.wall_seconds:
        return (
            "cell_seconds",
            f"one cell may not take longer than the notebook's wall_seconds ({whole.wall_seconds})",
        )
    return None
