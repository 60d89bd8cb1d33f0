"""The course that `lms bench grade` makes: three assignments, and answers such as students give.

Answers are honest: right, wrong, blank, chatty, warning, printing to stderr, not even Python.
Which student gives which is decided by a seed, and no two hand in the same.
"""

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lms.cli.bench.answers import ANSWERS

Cell = dict[str, Any]
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def write_course(root: Path) -> None:
    """Write the instructor's folders, `source/np1` and so on."""
    for assignment, notebooks in _SOURCES.items():
        folder = root / "source" / assignment
        folder.mkdir(parents=True)
        for name, cells in notebooks.items():
            (folder / f"{name}.ipynb").write_text(_notebook(cells), encoding="utf-8")


def answers_of(assignment: str, count: int, seed: int) -> list[dict[str, str]]:
    """Return `count` different students' answers, by grade_id; the first one's are all right."""
    variants = ANSWERS[assignment]
    every = list(itertools.product(*(range(len(given)) for given in variants.values())))
    first, others = every[0], every[1:]
    chosen = [first, *random.Random(seed).sample(others, count - 1)]  # noqa: S311 (no secret)
    return [
        {
            grade_id: answer
            for (grade_id, given), index in zip(variants.items(), choice, strict=True)
            if (answer := given[index]) is not None
        }
        for choice in chosen
    ]


def write_submissions(
    root: Path,
    assignment: str,
    released: Mapping[str, bytes],
    answers: Iterable[Mapping[str, str]],
) -> None:
    """Write `submitted/s00/ASSIGNMENT` and so on: the released notebooks with answers in them."""
    for number, given in enumerate(answers):
        folder = root / "submitted" / f"s{number:03}" / assignment
        folder.mkdir(parents=True)
        for name, content in released.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(_answered(name, content, given))


def _answered(name: str, content: bytes, given: Mapping[str, str]) -> bytes:
    if not name.endswith(".ipynb"):
        return content
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = given.get(grade_id, cell["source"])
    return json.dumps(notebook, indent=1).encode()


def _notebook(cells: list[Cell]) -> str:
    numbered = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)]
    metadata = {"kernelspec": _KERNEL}
    return json.dumps(
        {"cells": numbered, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1
    )


def _code(source: str, **nbgrader: Any) -> Cell:  # noqa: ANN401 (JSON)
    metadata = {"nbgrader": {**_PLAIN, **nbgrader}} if nbgrader else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": [],
        "source": source.strip("\n"),
    }


_PLAIN = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}


def _text(source: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _given(grade_id: str, source: str) -> Cell:
    return _code(source, grade_id=grade_id, locked=True)


def _solution(grade_id: str, source: str) -> Cell:
    return _code(source, grade_id=grade_id, solution=True)


def _test(grade_id: str, points: float, source: str) -> Cell:
    return _code(source, grade_id=grade_id, grade=True, locked=True, points=points)


def _written(grade_id: str, points: float, source: str) -> Cell:
    nbgrader = {**_PLAIN, "grade": True, "solution": True, "grade_id": grade_id, "points": points}
    return {"cell_type": "markdown", "metadata": {"nbgrader": nbgrader}, "source": source}


_NP1 = [
    _text("# Arrays and tables\n\nColumns, groups and a line: $y = ax + b$."),
    _given(
        "imports",
        "import numpy as np\nimport pandas as pd\nfrom numpy.testing import assert_allclose",
    ),
    _solution(
        "standardise",
        '''
def standardise(x):
    """Return the columns of x with mean 0 and deviation 1."""
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=float)
    return (x - x.mean(axis=0)) / x.std(axis=0)
    ### END SOLUTION
''',
    ),
    _code("standardise(np.arange(12.0).reshape(6, 2))"),
    _test(
        "t_standardise",
        2,
        """
z = standardise(np.arange(12.0).reshape(6, 2))
assert z.shape == (6, 2)
assert_allclose(z.mean(axis=0), 0, atol=1e-12)
### BEGIN HIDDEN TESTS
r = np.random.default_rng(0).normal(3, 7, size=(200, 5))
assert_allclose(standardise(r), (r - r.mean(0)) / r.std(0))
### END HIDDEN TESTS
""",
    ),
    _given(
        "table",
        """
rng = np.random.default_rng(42)
table = pd.DataFrame(
    {"group": rng.choice(list("abcd"), 2000), "x": rng.normal(size=2000)}
)
table.head()
""",
    ),
    _solution(
        "group_means",
        """
def group_means(table, key, column):
    ### BEGIN SOLUTION
    return table.groupby(key)[column].mean()
    ### END SOLUTION
""",
    ),
    _code('group_means(table, "group", "x")'),
    _test(
        "t_group_means",
        2,
        """
means = group_means(table, "group", "x")
assert list(means.index) == list("abcd")
### BEGIN HIDDEN TESTS
assert_allclose(means.loc["a"], table[table.group == "a"].x.mean())
### END HIDDEN TESTS
""",
    ),
    _solution(
        "line",
        """
def line(x, y):
    ### BEGIN SOLUTION
    return tuple(np.polyfit(x, y, 1))
    ### END SOLUTION
""",
    ),
    _test(
        "t_line",
        3,
        """
x = np.linspace(0, 1, 50)
slope, offset = line(x, 3 * x - 1)
assert abs(slope - 3) < 1e-6 and abs(offset + 1) < 1e-6
### BEGIN HIDDEN TESTS
x = np.random.default_rng(1).normal(size=500)
y = 2 * x + 5 + np.random.default_rng(2).normal(size=500)
assert_allclose(line(x, y), np.polyfit(x, y, 1), rtol=1e-6)
### END HIDDEN TESTS
""",
    ),
    _test(
        "t_partly",
        4,
        """
points = 0.0
for n in (3, 5, 10, 50):
    try:
        points += 0.5 * (standardise(np.random.default_rng(n).normal(size=(n, 3))).shape == (n, 3))
        points += 0.5 * bool(np.isclose(line(np.arange(n), np.arange(n) * 2.0)[0], 2))
    except Exception:
        pass
points
""",
    ),
    _written("explain", 2, "What does standardising do?"),
    _code("table.describe()"),
]
_ML1 = [
    _text("# A first model"),
    _given(
        "imports",
        """
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
""",
    ),
    _given(
        "data",
        """
X, y = make_classification(n_samples=600, n_features=12, n_informative=6, random_state=3)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
X_train.shape
""",
    ),
    _solution(
        "predict",
        """
def predict(X_train, y_train, X_test):
    ### BEGIN SOLUTION
    return LogisticRegression(max_iter=500).fit(X_train, y_train).predict(X_test)
    ### END SOLUTION
""",
    ),
    _code("predicted = predict(X_train, y_train, X_test)\npredicted[:10]"),
    _test(
        "t_predict",
        3,
        """
predicted = predict(X_train, y_train, X_test)
assert accuracy_score(y_test, predicted) > 0.7
### BEGIN HIDDEN TESTS
assert accuracy_score(y_train, predict(X_train, y_train, X_train)) > 0.75
### END HIDDEN TESTS
""",
    ),
    _solution(
        "accuracy",
        """
def accuracy(truth, predicted):
    ### BEGIN SOLUTION
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))
    ### END SOLUTION
""",
    ),
    _test(
        "t_accuracy",
        2,
        """
assert accuracy([1, 0], [1, 1]) == 0.5
### BEGIN HIDDEN TESTS
guess = np.random.default_rng(0).integers(0, 2, len(y_test))
assert abs(accuracy(y_test, guess) - accuracy_score(y_test, guess)) < 1e-12
### END HIDDEN TESTS
""",
    ),
    _written("overfit", 1, "Why is a test set needed?"),
]
_PS1 = {
    "problem1": [
        _text("# Squares"),
        _solution(
            "squares",
            """
def squares(n):
    ### BEGIN SOLUTION
    if n < 1:
        raise ValueError("n must be at least 1")
    return [i ** 2 for i in range(1, n + 1)]
    ### END SOLUTION
""",
        ),
        _test("t_squares", 2, "assert squares(1) == [1]\nassert squares(3) == [1, 4, 9]"),
        _test(
            "t_squares_error",
            1,
            """
try:
    squares(0)
except ValueError:
    pass
else:
    raise AssertionError("no error")
""",
        ),
        _solution(
            "total",
            """
def total(n):
    ### BEGIN SOLUTION
    return sum(squares(n))
    ### END SOLUTION
""",
        ),
        _test("t_total", 2, "assert total(10) == 385"),
    ],
    "problem2": [_text("# Words"), _written("words", 3, "Why does recursion end?")],
}
_SOURCES: dict[str, dict[str, list[Cell]]] = {
    "np1": {"arrays": _NP1},
    "ml1": {"model": _ML1},
    "ps1": _PS1,
}

_BURNER = """
import os
import time

end = time.process_time() + {seconds}
while time.process_time() < end:
    pass
print("sees the machine:", os.path.exists({path!r}))
"""


def write_burner(folder: Path, seconds: float) -> tuple[Path, Path]:
    """Write a source and a submission whose one cell takes `seconds` of CPU; return both."""
    source = folder / "source" / "burner"
    submission = folder / f"burner-{seconds:g}"
    for place in (source, submission):
        place.mkdir(parents=True, exist_ok=True)
    # A folder that any process on this machine sees, and nobody in a sandbox.
    burning = _BURNER.format(seconds=seconds, path=str(source))
    given = [_solution("burn", "pass"), _test("t_burn", 1, "assert True")]
    (source / "n.ipynb").write_text(_notebook(given), encoding="utf-8")
    answered = [_solution("burn", burning), given[1]]
    (submission / "n.ipynb").write_text(_notebook(answered), encoding="utf-8")
    return source, submission
