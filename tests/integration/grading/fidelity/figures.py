"""Differences from the oracle, and the table of figures that a suite prints and leaves behind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.grading.stock import Graded

#: Where suites leave their figures; not under version control.
OUTPUT = Path(__file__).resolve().parents[4] / "test-output"


def differences(ours: Graded, theirs: Graded) -> list[str]:
    """Return one line for every cell and every total that is not the same on both sides."""
    found = []
    for key in sorted({*ours.cells, *theirs.cells}):
        mine, stock = ours.cells.get(key), theirs.cells.get(key)
        if mine != stock:
            found.append(f"{'/'.join(key)}: nbgrader {stock}, ours {mine}")
    for notebook in sorted({*ours.totals, *theirs.totals}):
        mine_, stock_ = ours.totals.get(notebook), theirs.totals.get(notebook)
        if mine_ != stock_:
            found.append(f"{'/'.join(notebook)}: nbgrader {stock_}, ours {mine_} in all")
    return found


@dataclass
class Figures:
    """Rows of figures by name; the last row adds up."""

    title: str
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, **figures: float) -> None:
        """Add one row."""
        self.rows[name] = figures

    def total(self, column: str) -> float:
        """Return the sum of a column."""
        return sum(row.get(column, 0) for row in self.rows.values())

    def table(self) -> str:
        """Return the rows as text."""
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        lines = [[self.title, *columns]]
        lines += [
            [name, *(f"{row.get(c, 0):g}" for c in columns)] for name, row in self.rows.items()
        ]
        lines.append(["all", *(f"{self.total(c):g}" for c in columns)])
        return "\n".join([_aligned(lines), *self.notes])

    def save(self, name: str) -> None:
        """Print the table, and leave it with the raw figures in test-output/."""
        OUTPUT.mkdir(exist_ok=True)
        value: dict[str, Any] = {"title": self.title, "rows": self.rows, "notes": self.notes}
        (OUTPUT / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        (OUTPUT / f"{name}.txt").write_text(self.table() + "\n")
        print(f"\n{self.table()}")  # noqa: T201 (what `pytest -s` is for)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )
