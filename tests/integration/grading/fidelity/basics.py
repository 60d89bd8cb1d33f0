"""Assignments about nbgrader itself: values on a last line, streams, structure, written answers."""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: ISC004

from tests.factories.notebooks import (
    checked,
    manual,
    notebook,
    plain,
    read_only,
    solution,
    task,
)
from tests.integration.grading import kinds
from tests.integration.grading.fidelity import changes
from tests.integration.grading.fidelity.parts import Assignment


def _stub(body: str) -> str:
    """An instructor's answer cell around `body`."""
    head, *rest = body.splitlines()
    inner = "\n".join(rest) or "    pass"
    return f"{head}\n    ### BEGIN SOLUTION\n{inner}\n    ### END SOLUTION"


KINDS = Assignment(
    name="kinds",
    notebooks={"kinds": kinds.make_notebook()},
    files={"data.txt": b"21\n", "sub/more.py": b"FACTOR = 2\n"},
    answers={
        "double": [
            kinds.ANSWERS["double"],
            *(
                answers["double"]
                for name, answers in kinds.VARIANTS.items()
                if "double" in answers and name != "endless"
            ),
            None,
        ],
        "share": [
            kinds.ANSWERS["share"],
            *(answers["share"] for answers in kinds.VARIANTS.values() if "share" in answers),
            None,
        ],
        "explain": ["Because it is twice as much.", "", None],
        "code": [None, "6 * 7", "1 + 1 ", "raise ValueError"],
    },
    changes=changes.ANY | {"retyped": changes.turn_into_code},
    count=64,
)

#: What a function may give as a score; the test's maximum is 2.
_SCORES = (
    "1.5", "0", "2", "-1", "-0.0", "float('nan')", "float('-inf')", "True", "False", "None",
    "'much'", "'1'", "'0.5'", "''", "'nan'", "[1]", "(1,)", "{}", "1e-3", "1_0 / 10", "0x1",
    "1j", "np.float64(0.5)", "np.int64(1)", "np.float32(1)", "np.bool_(True)", "np.array(1.5)",
    "np.array([1.0])", "np.nan", "decimal.Decimal('0.5')", "fractions.Fraction(1, 2)", "Bare()",
    "Shown('1')", "Shown('0.25 ')", "Shown('1\\n')", "Shown('２')", "Shown('١')", "Shown('1__0')",
    "print(1)", "display(1)", "lambda: 1", "...", "2.0000", "pd.Series([1.0])", "pd.NA",
)  # fmt: skip

VALUES = Assignment(
    name="values",
    notebooks={
        "values": notebook(
            read_only(
                "imports",
                "import decimal, fractions, sys\nimport numpy as np\nimport pandas as pd\n"
                "class Bare:\n    pass\n"
                "class Shown(str):\n    def __repr__(self):\n        return str(self)",
            ),
            solution("score", _stub("def score():\n    return 2")),
            checked("t_score", 2, "score()"),
            checked("t_hushed", 1, "score();"),
            checked("t_assigned", 1, "kept = score()\nassert kept is not None"),
            checked("t_underscore", 2, "_ = score()\n_"),
            checked("t_printed_first", 2, "print('so far')\nscore()"),
            solution("noise", _stub("def noise():\n    pass")),
            checked("t_before", 2, "noise()\nscore()"),
            checked(
                "t_after", 2, "import atexit\ntry:\n    result = score()\nfinally:\n    noise()"
            ),
            checked("t_silent", 1, "noise()"),
            checked("t_interactive", 2, "get_ipython().ast_node_interactivity = 'all'"),
            checked("t_all", 2, "score()\nnoise()"),
            checked("t_last", 2, "get_ipython().ast_node_interactivity = 'last_expr'"),
        )
    },
    answers={
        "score": [*(f"def score():\n    return {value}" for value in _SCORES), None],
        "noise": [
            "def noise():\n    pass",
            "def noise():\n    print('to stderr', file=sys.stderr)",
            "def noise():\n    sys.stderr.write('')",
            "def noise():\n    import warnings\n    warnings.warn('odd')",
            "def noise():\n    display(1)\n    print('x')",
            "def noise():\n    import logging\n    logging.warning('odd')",
            "def noise():\n    import logging\n    logging.info('fine')",
            "def noise():\n    import os\n    os.write(2, b'raw\\n')",
            "def noise():\n    import os\n    os.write(1, b'raw\\n')",
            "def noise():\n    sys.displayhook(1.0)",
            "def noise():\n    sys.displayhook(0.5)\n    print('late', file=sys.stderr)",
            "def noise():\n    print('early', file=sys.stderr)\n    sys.displayhook(0.5)",
            "def noise():\n    h = display(1, display_id=True)\n    h.update(2)",
            "def noise():\n    from IPython.display import clear_output\n"
            "    print('e', file=sys.stderr)\n    clear_output()",
            "def noise():\n    from IPython.display import clear_output\n"
            "    print('e', file=sys.stderr)\n    clear_output(wait=True)",
            "def noise():\n    from IPython.display import clear_output\n"
            "    print('e', file=sys.stderr)\n    clear_output(wait=True)\n    print('o')",
            "def noise():\n    import traceback\n    try:\n        1 / 0\n"
            "    except ZeroDivisionError:\n        traceback.print_exc()",
            "def noise():\n    get_ipython().showtraceback((ValueError, ValueError('x'), None))",
            "def noise():\n    import threading\n"
            "    t = threading.Thread(target=print, args=('t',), kwargs={'file': sys.stderr})\n"
            "    t.start()\n    t.join()",
            "def noise():\n    import contextlib, io\n"
            "    with contextlib.redirect_stderr(io.StringIO()):\n"
            "        print('hidden', file=sys.stderr)",
        ],
    },
    changes={name: changes.ANY[name] for name in ("failing cell", "noisy cell", "outputs")},
    count=72,
)

MERGING = Assignment(
    name="merging",
    notebooks={
        "merging": notebook(
            read_only("intro", "# Merging", "markdown"),
            plain("## Freely editable text", "markdown"),
            read_only("setup", "SEEN = []\nBASE = 3"),
            plain("SEEN.append('plain')", tags=["hide-input"]),
            solution("first", _stub("def first(x):\n    return x + BASE")),
            plain("first(1)"),
            checked(
                "t_first",
                2,
                "assert first(0) == 3\n### BEGIN HIDDEN TESTS\nassert first(-3) == 0\n"
                "### END HIDDEN TESTS",
            ),
            solution("second", _stub("def second(x):\n    return first(first(x))")),
            checked("t_second", 3, "assert second(0) == 6"),
            checked("t_seen", 1, "assert SEEN.count('plain') <= 1\nlen(SEEN)"),
            manual("explain", 2, "Twice.\n"),
            plain("", "raw"),
            task("project", 4, "Do something."),
            checked("t_defined", 1, "assert callable(first) and callable(second)"),
        )
    },
    answers={
        "first": [
            "def first(x):\n    return x + BASE",
            "first = lambda x: BASE + x",
            "def first(x):\n    return x + 2",
            "def first(x):\n    return x +",
            "BASE = 4\ndef first(x):\n    return x + BASE",
            "SEEN.append('plain')\ndef first(x):\n    return x + BASE",
            "%precision 2\ndef first(x):\n    return x + BASE",
            "",
            None,
        ],
        "second": [
            "def second(x):\n    return first(first(x))",
            "def second(x):\n    return x + 6",
            "def second(x):\n    return first(x)",
            "second = 6",
            "del first",
            None,
        ],
        "explain": [None, "It adds.", "![a](x.png) $x$ <b>x</b>", ""],
    },
    changes=changes.ANY
    | {
        "answer left out": changes.drop_answer,
        "retyped": changes.turn_into_code,
        "code as text": changes.turn_into_text,
        "copied test": changes.copy_test,
    },
    count=70,
)

ESSAYS = Assignment(
    name="essays",
    notebooks={
        "essays": notebook(
            read_only("intro", "# Essays", "markdown"),
            manual("why", 5, "YOUR ANSWER HERE"),
            manual("explain", 3, "### BEGIN MARK SCHEME\nGood.\n### END MARK SCHEME"),
            manual("draw", 4, "# draw it\n", "code"),
            manual("zero", 0, "Feelings?"),
            task("project", 10, "Build something below.\n"),
            plain("print('start here')"),
            task("poster", 2.5, "Add a poster.\n"),
            solution("free", "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION"),
            checked("t_free", 0.5, "assert answer == 42"),
            checked("t_worthless", 0, "assert answer"),
        )
    },
    answers={
        "why": [None, "Because.", "YOUR ANSWER HERE ", "답은 사랑이다 🎉", ""],
        "explain": ["So it is.", None, " "],
        "draw": [
            None,
            "print('drawn')",
            "raise ValueError",
            "import sys\nprint(1, file=sys.stderr)",
        ],
        "zero": [None, "Fine."],
        "free": ["answer = 42", "answer = '42'", "answer = 0", None],
    },
    changes={
        name: changes.ANY[name] for name in ("notes", "metadata", "lines", "outputs", "kernel")
    },
    hand_ins={
        "on time": lambda files: files.update({"timestamp.txt": b"2026-11-01 08:00:00 UTC"}),
        "late": lambda files: files.update({"timestamp.txt": b"2026-12-24 08:00:00 UTC"}),
        "very late": lambda files: files.update({"timestamp.txt": b"2031-01-01 00:00:00 UTC"}),
    },
    count=40,
)

ASSIGNMENTS = (KINDS, VALUES, MERGING, ESSAYS)
