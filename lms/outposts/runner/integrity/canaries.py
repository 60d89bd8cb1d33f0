"""Checks that must fail, run in the student's interpreter after its real scores are recorded.

Where a test has to share the student's interpreter, code there may have disarmed it. What a
canary finds is evidence; that it finds nothing proves little, since code can recognise it.
"""

import ast
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.integrity.analysis import plain_tree
from lms.outposts.runner.program import CellProgram, Executed

_FAR = "1.2345678e+123"
_TWO = "{f}(1.0, 2.0)"
#: What must fail, by where a test has the name from.
_KNOWN: dict[str, str] = {
    **dict.fromkeys(
        (
            "numpy.testing.assert_allclose",
            "numpy.testing.assert_equal",
            "numpy.testing.assert_almost_equal",
            "numpy.testing.assert_array_equal",
            "numpy.testing.assert_array_almost_equal",
            "numpy.testing.assert_approx_equal",
        ),
        _TWO,
    ),
    **dict.fromkeys(
        ("math.isclose", "numpy.isclose", "numpy.allclose", "numpy.array_equal"), f"assert {_TWO}"
    ),
    "numpy.testing.assert_array_less": "{f}(2.0, 1.0)",
    "numpy.testing.assert_raises": "{f}(ValueError, int, '1')",
    "numpy.linalg.norm": "assert {f}([3.0, 4.0]) < 4.0",
    "numpy.abs": "assert {f}(-3.0) < 2.0",
    "numpy.max": "assert {f}([3.0, 4.0]) < 4.0",
    "numpy.all": "assert {f}([True, False])",
    "numpy.any": "assert {f}([False, False])",
    "numpy.isfinite": "assert {f}(float('nan'))",
    "numpy.shape": "assert {f}([1.0, 2.0]) != (2,)",
    "sklearn.metrics.accuracy_score": "assert {f}([0, 1], [1, 0]) > 0.0",
    "sklearn.metrics.r2_score": "assert {f}([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) > 0.0",
    "sklearn.metrics.mean_squared_error": "assert {f}([0.0], [1.0]) < 0.5",
    "sklearn.metrics.f1_score": "assert {f}([0, 1], [1, 0]) > 0.0",
    "unittest.TestCase": "{f}().assertEqual(1, 2)",
    "pytest.raises": "with {f}(ValueError):\n    pass",
    "pytest.approx": "assert 1.0 == {f}(2.0)",
    "pandas.testing.assert_frame_equal": (
        "import pandas as _p\n{f}(_p.DataFrame({{'a': [1]}}), _p.DataFrame({{'a': [2]}}))"
    ),
    "pandas.testing.assert_series_equal": (
        "import pandas as _p\n{f}(_p.Series([1]), _p.Series([2]))"
    ),
    "all": "assert {f}([False])",
    "any": "assert {f}([False])",
    "len": "assert {f}([1, 2]) != 2",
    "sum": "assert {f}([1, 2]) != 3",
    "sorted": "assert {f}([2, 1]) != [1, 2]",
    "isinstance": "assert {f}(1, str)",
    "type": "assert {f}(1) is not int",
    "abs": "assert {f}(-3) != 3",
    "max": "assert {f}(1, 2) != 2",
    "min": "assert {f}(1, 2) != 1",
    "round": "assert {f}(2.6) != 3",
    "hasattr": "assert {f}(1, 'no_such_name')",
    "callable": "assert {f}(1)",
}
#: Comparisons of a student's value with an expected one, first argument against second.
_COMPARERS = frozenset(
    {
        "numpy.allclose",
        "numpy.array_equal",
        "numpy.testing.assert_allclose",
        "numpy.testing.assert_equal",
        "numpy.testing.assert_array_equal",
        "numpy.testing.assert_almost_equal",
        "numpy.testing.assert_array_almost_equal",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A test cell to look at."""

    grade_id: str
    source: str
    #: Names that are the student's to define.
    answered: frozenset[str]


def find_passing(
    program: CellProgram, suspects: Iterable[Suspect], origins: Mapping[str, str], seconds: int
) -> dict[str, str]:
    """Return what passed that must fail, by grade_id; "" stands for every cell.

    An interpreter that ends or answers nonsense meanwhile proves nothing.
    """
    found: dict[str, str] = {}
    try:
        for what, passed in _run_plain(program, seconds):
            if passed:
                found[""] = what
        for suspect in suspects:
            for what in _run_own(program, suspect, origins, seconds):
                found[suspect.grade_id] = what
    except RunStoppedError:
        pass
    return found


def _run_plain(program: CellProgram, seconds: int) -> Iterator[tuple[str, bool]]:
    nonce = secrets.token_hex(8)
    for source in (
        f"assert False, {nonce!r}",
        f"_x{nonce} = 1\nassert _x{nonce} == 2, {nonce!r}",
        f"raise AssertionError({nonce!r})",
    ):
        executed = program.execute(source, seconds)
        yield source.replace(nonce, "..."), _has_passed(executed)
    # A share of the points is the last value as text; more than there is must not show.
    executed = program.execute("0.25", seconds)
    yield "0.25 is shown as more", any(number > 0.8 for number in _shown(executed))  # noqa: PLR2004 (precision may round it)


def _has_passed(executed: Executed) -> bool:
    return executed.status == "ok" and not any(
        output.output_type == "error" for output in executed.outputs
    )


def _shown(executed: Executed) -> Iterator[float]:
    for output in executed.outputs:
        if output.output_type == "execute_result":
            text = output.get("data", {}).get("text/plain", "")
            try:
                yield float(text)
            except (TypeError, ValueError):
                continue


def _run_own(
    program: CellProgram, suspect: Suspect, origins: Mapping[str, str], seconds: int
) -> Iterator[str]:
    tree = plain_tree(suspect.source)
    if tree is None:
        return
    helpers = list(_helpers(tree, origins))
    for made, labels in (_tried(helpers), _mutated(tree, suspect.answered, origins)):
        if not labels:
            continue
        nonce = secrets.token_hex(8)
        source = made.replace("NONCE", nonce)
        executed = program.execute(source, seconds)
        yield from (labels[place] for place in _passed(executed, nonce) if place < len(labels))


def _passed(executed: Executed, nonce: str) -> Iterator[int]:
    """Return which checks passed, as the error at the end says; nothing if it is another one."""
    for output in executed.outputs:
        if output.output_type != "error":
            continue
        head, _, places = str(output.get("evalue", "")).partition(" ")
        if head == nonce:
            yield from (int(place) for place in places.split(",") if place.isdigit())


def _helpers(tree: ast.Module, origins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return name and failing use of every function the test calls that we know."""
    seen = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        spelled = ast.unparse(node.func)
        known = _KNOWN.get(_origin(spelled, origins))
        if known is not None and spelled not in seen:
            seen.add(spelled)
            yield spelled, known.format(f=spelled)


def _origin(spelled: str, origins: Mapping[str, str]) -> str:
    root, dot, rest = spelled.partition(".")
    return origins.get(root, root) + dot + rest


def _tried(helpers: list[tuple[str, str]]) -> tuple[str, list[str]]:
    body = [_attempt(source, place) for place, (_, source) in enumerate(helpers)]
    return _framed(body), [f"{name} accepted what is wrong" for name, _ in helpers]


def _framed(body: list[str]) -> str:
    listed = "\n".join(body)
    return f"_pNONCE = []\n{listed}\nraise AssertionError('NONCE ' + ','.join(map(str, _pNONCE)))"


def _attempt(source: str, place: int) -> str:
    inner = "\n".join("    " + line for line in source.splitlines())
    return f"try:\n{inner}\nexcept BaseException:\n    pass\nelse:\n    _pNONCE.append({place})"


def _mutated(
    tree: ast.Module, answered: frozenset[str], origins: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Return the test with its expected values replaced by such as nothing honest equals."""
    body: list[str] = []
    labels: list[str] = []
    for statement in tree.body:
        for source in _wrong_variants(statement, answered, origins):
            body.append(_attempt(source, len(labels)))
            labels.append("an answer equals a value that nothing equals")
        body.append(ast.unparse(statement))
    return _framed(body), labels


def _wrong_variants(
    statement: ast.stmt, answered: frozenset[str], origins: Mapping[str, str]
) -> Iterator[str]:
    tested: Any = statement.value if isinstance(statement, ast.Expr) else None
    tested = statement.test if isinstance(statement, ast.Assert) else tested
    match tested:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            if _is_answer(left, answered):
                yield f"assert ({ast.unparse(left)}) == object()"
            if _is_answer(right, answered):
                yield f"assert object() == ({ast.unparse(right)})"
        case ast.Call(func=func, args=[first, _, *_]):
            spelled = ast.unparse(func)
            if _origin(spelled, origins) in _COMPARERS and _is_answer(first, answered):
                # Nothing is equal to everything when there is nothing: such answers stay out.
                value = ast.unparse(first)
                check = f"{spelled}({value}, {_FAR})"
                check = f"assert {check}" if isinstance(statement, ast.Assert) else check
                yield f"assert __import__('numpy').size({value}) > 0\n{check}"


def _is_answer(node: ast.expr, answered: frozenset[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in answered for part in ast.walk(node))
