"""Wrong answers that attack the tests instead of passing them; none may be verified as right."""

from textwrap import dedent

from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits
from tests.factories.notebooks import (
    answered,
    checked,
    notebook,
    read_only,
    solution,
    to_bytes,
)

LIMITS = Limits(
    cell_seconds=4,
    wall_seconds=40,
    memory_bytes=700 << 20,
    processes=64,
    output_bytes=1 << 20,
    disk_bytes=32 << 20,
)
NAME = "forged"
RIGHT = """
def double(x):
    return 2 * x

def squares(n):
    return [i * i for i in range(n)]

def scale(a):
    return a * 2.0
"""
#: Every test fails on these.
WRONG = """
def double(x):
    return 0

def squares(n):
    return None

def scale(a):
    return a * 0.0 - 7.0
"""

SOURCE = AssignmentSource(
    name=NAME,
    files={
        f"{NAME}.ipynb": to_bytes(
            notebook(
                read_only(
                    "setup",
                    """
                    import unittest
                    import numpy as np
                    from numpy.testing import assert_allclose
                    TABLE = [2, 4, 6]

                    def agree(one, other):
                        if one != other:
                            raise AssertionError("they differ")
                    """,
                ),
                solution("answer", f"### BEGIN SOLUTION\n{RIGHT.strip()}\n### END SOLUTION"),
                checked(
                    "t_plain",
                    2,
                    "assert double(1) == 2\n### BEGIN HIDDEN TESTS\n"
                    "assert double(21) == 42\nassert isinstance(double(3), int)\n"
                    "### END HIDDEN TESTS",
                ),
                checked(
                    "t_numpy",
                    2,
                    "assert_allclose(scale(np.arange(3.0)), [0.0, 2.0, 4.0])\n"
                    "assert np.allclose(scale(np.ones(2)), 2.0)",
                ),
                checked(
                    "t_list", 2, "assert squares(4) == [0, 1, 4, 9]\nassert len(squares(2)) == 2"
                ),
                checked("t_given", 2, "agree([double(x) for x in (1, 2, 3)], TABLE)"),
                checked("t_unit", 2, "unittest.TestCase().assertEqual(double(4), 8)"),
                checked("t_close", 2, "assert abs(double(2.5) - 5.0) < 1e-9"),
                checked("t_share", 2, "sum(0.5 for x in (5, 6, 7, 8) if double(x) == 2 * x)"),
                checked("t_value", 2, "double(0.75)"),
            )
        )
    },
)
_RELEASED = build(SOURCE).student_files[f"{NAME}.ipynb"]
_EQUAL = """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __len__(self): return 2
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0.0
    def __lt__(self, other): return True
    __class__ = int
"""
#: How a hostile process finds the descriptor of its line.
_LINE = """
import os, struct, json
def lines():
    for number in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                yield number
        except OSError:
            pass
def frame(header, *blobs):
    head = json.dumps({**header, "blobs": [len(b) for b in blobs]}).encode()
    return struct.pack(">II", len(head), sum(map(len, blobs))) + head + b"".join(blobs)
"""


def submission(code: str) -> dict[str, bytes]:
    """A submission whose answer cell is `code`."""
    return {f"{NAME}.ipynb": answered(_RELEASED, {"answer": code})}


def _attack(code: str) -> str:
    return WRONG + dedent(code)


_NODE_TRANSFORMER = """
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
get_ipython().ast_transformers.append(Strip())
"""

#: Full marks in one process, since no code of a cell runs any more; asked, the code attacks.
_RUNS_NOTHING = """
async def nothing(*a, **k): return False
get_ipython().run_code = nothing
"""


def _when_asked(code: str) -> str:
    body = dedent(code).strip().replace("\n", "\n    ")
    # Last: IPython runs a cell statement by statement.
    return f"{WRONG}{_LINE}def double(x):\n    {body}\n    return 0\n{_RUNS_NOTHING}"


_SAY = """
for number in lines():
    try:
        os.write(number, {what})
    except OSError:
        pass
"""
_FORGED = (
    "frame({'answer': True}, json.dumps({'ok': [2 * x, 0, 0], 'changed': [], 'out': [], "
    "'warned': [], 'random': [['d'], 0, 0]}).encode())"
)
#: What a student's process does when it is asked.
WHEN_ASKED: dict[str, str] = {
    "writes on the line": _when_asked(_SAY.format(what="b'forged'")),
    "answers first": _when_asked(_SAY.format(what=_FORGED)),
    "answers ten times": _when_asked(
        "for _ in range(10):\n    " + _SAY.format(what=_FORGED).strip().replace("\n", "\n    ")
    ),
    "says that it is done": _when_asked(
        _SAY.format(what="frame({'id': 1, 'done': {'status': 'ok'}})")
    ),
    "calls back what is not there": _when_asked(
        _SAY.format(
            what="frame({'callback': True}, json.dumps({'number': 7, 'given': "
            "[['t', ['t'], ['t']], 0, 0]}).encode())"
        )
    ),
    "calls back nonsense": _when_asked(_SAY.format(what="frame({'callback': True}, b'[[[')")),
    "announces a giant": _when_asked(_SAY.format(what="struct.pack('>II', 100, 1 << 31)")),
    "forks and goes on": _when_asked("os.fork()"),
    "forks and stays": _when_asked("if os.fork():\n    os._exit(0)"),
    "ends": _when_asked("os._exit(0)"),
    "hangs": _when_asked("while True: pass"),
    "closes every descriptor": _when_asked("os.closerange(0, 256)"),
    "floods": _when_asked("return 'x' * 100_000_000"),
    "floods with numbers": _when_asked("return list(range(9_000_000))"),
    "prints without end": _when_asked("while True: print('x' * 10_000)"),
    "nests without end": _when_asked(
        "value = []\nfor _ in range(100_000): value = [value]\nreturn value"
    ),
    "contains itself": _when_asked("value = []\nvalue.append(value)\nreturn value"),
    "keys that collide": _when_asked("return {((1 << 61) - 1) * k: 0 for k in range(3000)}"),
    "iterates without end": _when_asked("import itertools\nreturn itertools.count()"),
    "raises what ends": _when_asked("raise SystemExit(0)"),
    "raises what interrupts": _when_asked("raise KeyboardInterrupt"),
    "raises what stops": _when_asked("raise StopIteration(2 * x)"),
    "raises strangely": _when_asked(
        "class Odd(BaseException):\n    def __str__(self): raise self\nraise Odd"
    ),
    "uses up memory": _when_asked("return [bytearray(1 << 20) for _ in range(5000)]"),
    "patches what answers": _when_asked(
        "from lms.outposts.kernels import values\n"
        "for key in list(values.ENCODERS): values.ENCODERS[key] = lambda *a: ['y', 'object']"
    ),
    "answers with a lie about its class": _when_asked(
        "class Lie:\n    __class__ = int\n    def __eq__(self, other): return True\nreturn Lie()"
    ),
    "hides an always equal key": _when_asked(
        "class Key(str):\n    def __eq__(self, other): return True\n"
        "    __hash__ = str.__hash__\nreturn {Key('a'): 1}"
    ),
    **{
        f"answers nonsense {number}": _when_asked(
            "from lms.outposts.kernels import values\n"
            f"values.ENCODERS[int] = lambda *a: {node!r}\nreturn 1"
        )
        for number, node in enumerate(
            (
                ["np.a", True, ["|O", [1], "C", 0]],
                ["np.a", True, ["<f8", [1 << 40], "C", 0]],
                ["np.a", True, ["<f8", [-1], "C", 0]],
                ["np.s", "<M8[zz]", 0],
                ["r", 99],
                ["h", "function", -1, 0],
                ["h", "object", 3, "int", [["class", 5, {}, []]]],
                [
                    "h",
                    "class",
                    4,
                    {"name": "agree", "specials": [], "raised": None, "line": []},
                    [],
                ],
                ["l"] * 9,
                ["y", "eval"],
                ["u", "builtins.eval"],
                ["cb", 0],
                ["ob", "TestCase", "assertEqual", None],
                ["sk.e", "Pipeline", ["d", "score", 1], []],
                ["pd.s", ["n", ["<f8", [0], "C", 0]], ["r", 0, 1 << 60, 1, None], None],
                {},
                ["i", "f" * 4_000_000],
                ["sl", None],
                ["dd", ["y", "type"], 1, 2],
            )
        )
    },
}

FORGERIES: dict[str, str] = {
    "strips asserts": _attack(_NODE_TRANSFORMER),
    "turns asserts into nothing": _attack(
        """
        def away(lines):
            return ["pass\\n" if "assert" in line or "agree" in line else line for line in lines]
        get_ipython().input_transformers_post.append(away)
        """
    ),
    "cleans cells away": _attack(
        "get_ipython().input_transformer_manager.cleanup_transforms.append(lambda lines: [])"
    ),
    "patches numpy.testing": _attack(
        "import numpy.testing\n"
        "assert_allclose = numpy.testing.assert_allclose = lambda *a, **k: None"
    ),
    "patches numpy": _attack("np.allclose = np.array_equal = lambda *a, **k: True"),
    "replaces np": _attack(
        """
        class Fake:
            def __getattr__(self, name): return getattr(__import__("numpy"), name)
            allclose = staticmethod(lambda *a, **k: True)
        np = Fake()
        """
    ),
    "patches builtins": _attack(
        """
        import builtins
        builtins.isinstance = lambda *a: True
        builtins.len = lambda x: 2
        builtins.abs = lambda x: 0
        builtins.sum = lambda x: 2.0
        """
    ),
    "shadows builtins": _attack("abs = lambda x: 0.0\nlen = lambda x: 2\nsum = lambda x: 2.0"),
    "patches unittest": _attack("unittest.TestCase.assertEqual = lambda self, *a, **k: None"),
    "replaces the given check": _attack("def agree(one, other): pass"),
    "empties the given check": _attack("agree.__code__ = (lambda one, other: None).__code__"),
    "changes the given table": _attack("TABLE[:] = [-1, -1, -1]"),
    "replaces the given table": _attack("TABLE = [-1, -1, -1]"),
    "equal to everything": _EQUAL
    + "def double(x): return Equal()\ndef squares(n): return Equal()\ndef scale(a): return Equal()",
    "an int equal to everything": _attack(
        """
        class Any(int):
            def __eq__(self, other): return True
            def __hash__(self): return 0
            def __sub__(self, other): return 0
        def double(x): return Any(-1)
        """
    ),
    "a float that is no distance away": _attack(
        """
        class Near(float):
            def __sub__(self, other): return 0.0
            def __eq__(self, other): return True
            def __hash__(self): return 0
        def double(x): return Near(1)
        """
    ),
    "an array that agrees": _attack(
        """
        class Agreeing(np.ndarray):
            def __array_function__(self, function, types, args, kwargs): return True
            def __array_ufunc__(self, *a, **k): return np.True_
        def scale(a): return np.zeros(len(a)).view(Agreeing)
        """
    ),
    "a list equal to everything": _attack(
        """
        class Same(list):
            def __eq__(self, other): return True
            def __len__(self): return 2
        def squares(n): return Same()
        """
    ),
    "an instance check that says yes": _attack(
        """
        class Meta(type):
            def __instancecheck__(cls, other): return True
        int = Meta("int", (), {})
        """
    ),
    "mock.ANY": _attack(
        "from unittest import mock\ndef double(x): return mock.ANY\ndef squares(n): return mock.ANY"
    ),
    "minus one": _attack("def double(x): return -1"),
    "not a number": _attack("def double(x): return float('nan')\ndef scale(a): return a * np.nan"),
    "infinite": _attack("def double(x): return float('inf')\ndef scale(a): return a + np.inf"),
    "huge": _attack("def double(x): return 10 ** 100_000"),
    "reads expected values from frames": _attack(
        """
        import sys
        def double(x):
            frame = sys._getframe(1)
            while frame is not None:
                if frame.f_code.co_name == "<module>":
                    return max((v for v in frame.f_code.co_consts if type(v) is int), default=0)
                frame = frame.f_back
            return 0
        """
    ),
    "reads expected values from the input": _attack(
        """
        import re
        def double(x):
            for text in reversed(In):
                found = re.search(rf"double\\({x}\\) == (\\d+)", text)
                if found:
                    return int(found[1])
            return -1
        """
    ),
    "reads expected values from the history": _attack(
        """
        import re
        def double(x):
            for _, _, text in get_ipython().history_manager.get_range():
                found = re.search(rf"double\\({x}\\) == (\\d+)", text)
                if found:
                    return int(found[1])
            return -1
        """
    ),
    "searches memory for the test": _attack(
        """
        import gc, types
        def double(x):
            for thing in gc.get_objects():
                if isinstance(thing, types.CodeType) and 42 in thing.co_consts:
                    return 42 if x == 21 else 2
            return -1
        """
    ),
    "hides errors": _attack("get_ipython().showtraceback = lambda *a, **k: None"),
    "handles every error": _attack(
        "get_ipython().set_custom_exc((Exception,), lambda *a, **k: [])"
    ),
    "runs no cell": _attack(
        """
        from IPython.core.interactiveshell import ExecutionResult, ExecutionInfo
        shell = get_ipython()
        async def nothing(*a, **k):
            return ExecutionResult(ExecutionInfo("", False, False, False, ""))
        shell.run_cell_async = nothing
        """
    ),
    "runs no code": _attack(
        """
        async def nothing(*a, **k): return False
        get_ipython().run_code = nothing
        """
    ),
    "a session that sends no errors": _attack(
        """
        session = get_ipython().kernel.session
        kind = type(session)
        before = kind.send
        def send(self, stream, what, *rest, **more):
            name = what if isinstance(what, str) else what["header"]["msg_type"]
            if name == "error":
                return None
            if name == "execute_reply":
                rest = ({"status": "ok", "execution_count": 1}, *rest[1:])
            return before(self, stream, what, *rest, **more)
        kind.send = send
        """
    ),
    "shows full marks for every number": _attack(
        """
        formatter = get_ipython().display_formatter.formatters["text/plain"]
        for kind in (int, float):
            formatter.for_type(kind, lambda value, printer, cycle: printer.text("2.0"))
        """
    ),
    "prints full marks": _attack(
        """
        def double(x):
            print("2.0")
            from IPython.display import display
            display(2.0)
            return -1
        """
    ),
    "skips lines by tracing": _attack(
        """
        import sys
        def trace(frame, event, arg):
            if "double" in frame.f_code.co_names and event == "line":
                return None
            return trace
        sys.settrace(trace)
        """
    ),
    "a thread that renames": _attack(
        """
        import threading, time
        def work():
            while True:
                globals()["double"] = lambda x: 2 * -1
                globals()["assert_allclose"] = print
                time.sleep(0.001)
        threading.Thread(target=work, daemon=True).start()
        """
    ),
    "atexit": _attack("import atexit\natexit.register(lambda: print('2.0'))"),
    "rewrites memory": _attack(
        """
        import ctypes
        address = id(2) + 24
        ctypes.c_uint32.from_address(address).value = 1
        """
    ),
    "signals itself": _attack(
        """
        import signal, os
        signal.signal(signal.SIGALRM, lambda *a: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        """
    ),
    "an import hook": _attack(
        """
        import sys
        class Hook:
            def find_spec(self, name, path=None, target=None): return None
        sys.meta_path.insert(0, Hook())
        sys.modules["numpy.testing"] = sys.modules["unittest"]
        """
    ),
    "changes its argument": _attack(
        "def scale(a):\n    a[:] = [0.0, 2.0, 4.0][: len(a)]\n    return a - 1"
    ),
    "warns and hides it": _attack(
        "import warnings, sys\nwarnings.showwarning = lambda *a: None\n"
        "sys.stderr = open('/dev/null', 'w')"
    ),
    "deletes the tests' names": _attack(
        "del agree, TABLE\nimport builtins\nbuiltins.agree = print\nbuiltins.TABLE = 1"
    ),
    "a property that counts": _attack(
        """
        class Counting:
            calls = 0
            def __eq__(self, other):
                Counting.calls += 1
                return Counting.calls % 2 == 1
        def double(x): return Counting()
        """
    ),
    "compiles to nothing": _attack(
        """
        shell = get_ipython()
        before = shell.compile.ast_parse
        import ast
        shell.compile.ast_parse = lambda source, *a, **k: before("pass", *a, **k)
        """
    ),
    "patches exec": _attack("import builtins\nbuiltins.exec = lambda *a, **k: None"),
    "an int class that is told": _attack(
        """
        class double:
            def __init__(self, x): pass
            def __eq__(self, other): return True
            def __sub__(self, other): return 0.0
        """
    ),
    "an endless hash": _attack(
        """
        class Slow:
            def __eq__(self, other): return True
            def __hash__(self):
                while True: pass
        def double(x): return {Slow(): 1} if x > 100 else Slow()
        """
    ),
} | {f"asked: {name}": code for name, code in WHEN_ASKED.items()}
