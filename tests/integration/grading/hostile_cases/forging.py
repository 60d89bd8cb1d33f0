"""Wrong answers that try to pass: patched interpreters, lying objects, stolen expectations.

All of it earns what the wrong answer earns, or the run is not verified.
"""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: E501

from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from tests.factories.notebooks import checked, notebook, plain, read_only, solution, to_bytes

#: Every score of an honest wrong answer to the two assignments.
HONEST = {
    "t_one": 0.0,
    "t_share": 0.75,
    "t_helper": 0.0,
    "t_np": 0.0,
    "t_file": 0.0,
    "t_plain": 0.0,
}

SCALE = AssignmentSource(
    name="scaled",
    files={
        "scale.ipynb": to_bytes(
            notebook(
                read_only(
                    "helper",
                    "import numpy as np\nfrom numpy.testing import assert_allclose\n"
                    "def check(found, wanted):\n    assert_allclose(found, wanted)",
                ),
                solution(
                    "answer",
                    "def scale(x):\n    ### BEGIN SOLUTION\n    return 2 * np.asarray(x)\n"
                    "    ### END SOLUTION",
                ),
                plain("scale([1, 2])"),
                checked(
                    "t_helper",
                    2,
                    "check(scale([1, 2]), [2, 4])\n### BEGIN HIDDEN TESTS\n"
                    "check(scale([3.5]), [7.0])  # HUNTER2\n### END HIDDEN TESTS",
                ),
                checked(
                    "t_np",
                    2,
                    "assert np.array_equal(scale(np.arange(3)), [0, 2, 4])\n"
                    "assert np.isclose(scale(0.5), 1)",
                ),
                checked(
                    "t_file",
                    2,
                    "limit = float(open('limit.txt').read())\nassert scale(limit) == 6\n"
                    "### BEGIN HIDDEN TESTS\nassert scale(limit + 1) == 8\n### END HIDDEN TESTS",
                ),
                checked(
                    "t_plain",
                    1,
                    "import statistics\nassert sorted(scale([2, 1])) == [2, 4]\n"
                    "assert abs(scale(1) - 2) < 1e-9\nassert len(scale([1, 2, 3])) == 3\n"
                    "assert statistics.mean([float(v) for v in scale([1, 3])]) == 4",
                ),
            )
        ),
        "limit.txt": b"3\n",
    },
)
RELEASED = build(SCALE).student_files["scale.ipynb"]
SCALE_RIGHT = "def scale(x):\n    return 2 * np.asarray(x)"
SCALE_WRONG = "def scale(x):\n    return np.asarray(x)\n"

_EQUAL = (
    "class Equal:\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __ne__(self, other):\n        return False\n"
    "    def __hash__(self):\n        return 0\n"
)

#: Answers to `double`.
DOUBLE = {
    "an object equal to everything": _EQUAL + "def double(x):\n    return Equal()",
    "a number equal to everything": (
        "class Equal(int):\n    def __eq__(self, other):\n        return True\n"
        "    __hash__ = int.__hash__\ndef double(x):\n    return Equal(x)"
    ),
    "a class that claims to be int": (
        _EQUAL + "Equal.__class__ = property(lambda self: int)\ndef double(x):\n    return Equal()"
    ),
    "minus one": "def double(x):\n    return -1",
    "not a number": "def double(x):\n    return float('nan')",
    "minus infinity": "def double(x):\n    return float('-inf')",
    "text for a score": "def double(x):\n    return 'two'",
    "a list for a score": "def double(x):\n    return [1, 2]",
    "a value that shows as a score": (
        "class Shown(str):\n    def __repr__(self):\n        return '2'\n"
        "def double(x):\n    return Shown(x)"
    ),
    "a value that shows itself by IPython": (
        "class Shown:\n    def _repr_mimebundle_(self, **k):\n"
        "        return {'text/plain': '2'}\ndef double(x):\n    return Shown()"
    ),
    "a display hook of its own": (
        "import sys\ndef double(x):\n    sys.displayhook(2)\n    return x"
    ),
    "a formatter of its own": (
        "get_ipython().display_formatter.formatters['text/plain'].for_type(\n"
        "    float, lambda v, p, c: p.text('2'))\ndef double(x):\n    return x"
    ),
    "asserts stripped from the tree": (
        "import ast\nclass Strip(ast.NodeTransformer):\n"
        "    def visit_Assert(self, node):\n        return ast.copy_location(ast.Pass(), node)\n"
        "get_ipython().ast_transformers.append(Strip())\ndef double(x):\n    return x"
    ),
    "asserts optimised away": (
        "import builtins\nreal = builtins.compile\n"
        "def compile_(*a, **k):\n    return real(*a, **{**k, 'optimize': 2})\n"
        "builtins.compile = compile_\ndef double(x):\n    return x"
    ),
    "tests replaced before they are read": (
        "get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])\n"
        "def double(x):\n    return x"
    ),
    "a shell that runs nothing": (
        "s = get_ipython()\nreal = s.run_cell_async\n"
        "async def nothing(source, *a, **k):\n    return await real('pass', *a, **k)\n"
        "s.run_cell_async = nothing\ndef double(x):\n    return x"
    ),
    "a shell that runs no code": (
        "s = get_ipython()\nasync def nothing(*a, **k):\n    return False\n"
        "s.run_ast_nodes = nothing\ns.run_code = nothing\ndef double(x):\n    return x"
    ),
    "a shell that shows no error": (
        "s = get_ipython()\ns.showtraceback = lambda *a, **k: None\n"
        "s._showtraceback = lambda *a, **k: None\n"
        "s.kernel.do_execute_real = s.kernel.do_execute\n"
        "async def fine(*a, **k):\n    reply = await s.kernel.do_execute_real(*a, **k)\n"
        "    return {**reply, 'status': 'ok'}\n"
        "s.kernel.do_execute = fine\ndef double(x):\n    return x"
    ),
    "an error that names no error": (
        "class Quiet(BaseException):\n    def _render_traceback_(self):\n        return []\n"
        "def double(x):\n    raise Quiet"
    ),
    "leaves the interpreter": "def double(x):\n    raise SystemExit(0)",
    "asks the shell to exit": "def double(x):\n    get_ipython().ask_exit()\n    return x",
    "raises what ends a generator": "def double(x):\n    raise StopIteration(2)",
    "constants of the caller": (
        "import sys\ndef double(x):\n    frame = sys._getframe(1)\n"
        "    numbers = [c for c in frame.f_code.co_consts if isinstance(c, int) and c == 2 * x]\n"
        "    return numbers[0] if numbers else 0"
    ),
    "constants of every code object": (
        "import gc, types\ndef double(x):\n"
        "    for o in gc.get_referrers(*[c for c in (21, 42)]):\n"
        "        if isinstance(o, tuple) and 2 * x in o:\n            return 2 * x\n"
        "    return 0"
    ),
    "source of the caller": (
        "import re, sys, linecache\ndef double(x):\n    frame = sys._getframe(1)\n"
        "    text = ''.join(linecache.getlines(frame.f_code.co_filename))\n"
        "    found = re.search(rf'double\\({x}\\) == (\\d+)', text)\n"
        "    return int(found[1]) if found else 0"
    ),
    "names of the caller": (
        "import sys\ndef double(x):\n    sys._getframe(1).f_globals['double'] = None\n"
        "    sys._getframe(1).f_globals['In'][-1] = ''\n    return x"
    ),
    "jumps over the assert": (
        "import sys\ndef tracer(frame, event, arg):\n"
        "    if event == 'line' and frame.f_code.co_name == '<module>':\n"
        "        try:\n            frame.f_lineno = frame.f_lineno + 1\n"
        "        except ValueError:\n            pass\n    return tracer\n"
        "def double(x):\n    frame = sys._getframe(1)\n    sys.settrace(tracer)\n"
        "    frame.f_trace = tracer\n    return x"
    ),
    "patched small integers": (
        "import ctypes, sys\n"
        "ctypes.memmove(id(42) + 24, (21).to_bytes(4, 'little'), 4)\n"
        "def double(x):\n    return x"
    ),
    "patched int comparison": (
        "import ctypes\n"
        "class Type(ctypes.Structure):\n    _fields_ = [('head', ctypes.c_byte * 200),"
        " ('compare', ctypes.c_void_p)]\n"
        "kind = Type.from_address(id(int))\n"
        "KEEP = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object,"
        " ctypes.c_int)(lambda a, b, op: True)\n"
        "kind.compare = ctypes.cast(KEEP, ctypes.c_void_p).value\n"
        "def double(x):\n    return x"
    ),
    "an alarm in the middle of a test": (
        "import signal\ndef rescue(*a):\n    raise SystemExit\n"
        "signal.signal(signal.SIGALRM, rescue)\n"
        "def double(x):\n    signal.setitimer(signal.ITIMER_REAL, 1e-6)\n    return x"
    ),
    "hooks after every cell": (
        "def clean(result):\n    result.error_in_exec = None\n    result.error_before_exec = None\n"
        "get_ipython().events.register('post_run_cell', clean)\ndef double(x):\n    return x"
    ),
    "an error handler of its own": (
        "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)\n"
        "def double(x):\n    return x"
    ),
    "streams renamed": (
        "import sys\nsys.stderr = sys.stdout\nget_ipython().showtraceback = lambda *a, **k: None\n"
        "def double(x):\n    return x"
    ),
    "answers learnt from the first call": (
        "seen = []\n" + _EQUAL + "def double(x):\n    seen.append(x)\n"
        "    return 2 if x == 1 and len(seen) == 1 else Equal()"
    ),
    "a lie about its state": (
        "calls = 0\ndef double(x):\n    global calls\n    calls += 1\n"
        "    return {1: 2}.get(x) if calls < 2 else -1"
    ),
    "an honest face where no test is": (
        "import sys\ndef double(x):\n"
        "    tested = any('assert' in str(s) for s in globals().get('In', []))\n"
        "    return -1 if tested else x"
    ),
    "mutants recognised": (
        "import sys, linecache\n" + _EQUAL + "def double(x):\n"
        "    text = ''.join(linecache.getlines(sys._getframe(1).f_code.co_filename))\n"
        "    return Equal() if 'double(21) == 42' in text else x"
    ),
    "mutants recognised by their number": (
        _EQUAL + "runs = 0\ndef double(x):\n    global runs\n    runs += 1\n"
        "    return Equal() if runs <= 3 else x"
    ),
}

#: Answers to `scale`; a wrong `scale` stands below each.
ARRAYS = {
    "own check": "check = lambda *a: None\n",
    "check's code": "check.__code__ = (lambda found, wanted: None).__code__\n",
    "check by globals": "globals().update(check=print)\n",
    "tolerances": "assert_allclose.__defaults__ = (1e9, 1e9, True, '', True)\n"
    "try:\n    assert_allclose.__wrapped__.__defaults__ = (1e9, 1e9, True, '', True)\n"
    "except AttributeError:\n    pass\n",
    "numpy.testing's insides": "import numpy.testing._private.utils as u\n"
    "u.assert_array_compare = lambda *a, **k: None\n",
    "numpy.testing itself": "import numpy.testing\nnumpy.testing.assert_allclose = print\n"
    "assert_allclose = print\n",
    "array_equal and isclose": "np.array_equal = np.isclose = lambda *a, **k: True\n",
    "another numpy": "class np:\n    array_equal = isclose = staticmethod(lambda *a, **k: True)\n"
    "    arange = asarray = staticmethod(lambda x: x)\n",
    "sorted, abs, len": "import builtins\nbuiltins.sorted = lambda v: [2, 4]\n"
    "builtins.abs = lambda v: 0\nbuiltins.len = lambda v: 3\n",
    "own sorted": "sorted = lambda v: [2, 4]\nabs = lambda v: 0\n",
    "open": "import builtins, io\nbuiltins.open = lambda *a, **k: io.StringIO('6')\n",
    "float": "import builtins\nbuiltins.float = lambda v: 4\n",
    "the data file": "open('limit.txt', 'w').write('6')\n",
    "a pipe for a data file": "import os\nos.unlink('limit.txt')\nos.mkfifo('limit.txt')\n",
    "a module beside the notebook": "open('statistics.py', 'w').write('mean = lambda v: 4')\n",
    "a module in memory": "import sys, types\nm = types.ModuleType('statistics')\n"
    "m.mean = lambda v: 4\nsys.modules['statistics'] = m\n",
    "an import hook": "import builtins\nreal = builtins.__import__\n"
    "class fake:\n    mean = staticmethod(lambda v: 4)\n"
    "builtins.__import__ = lambda n, *a, **k: fake if n == 'statistics' else real(n, *a, **k)\n",
}

#: Whole answers to `scale`, with what they return in place of arrays.
LIARS = {
    "an array equal to everything": (
        "class Equal(np.ndarray):\n    def __eq__(self, other):\n        return True\n"
        "    def __array_function__(self, f, t, a, k):\n        return True\n"
        "    def __array_ufunc__(self, f, m, *a, **k):\n        return np.array(True)\n"
        "def scale(x):\n    return np.asarray(x).view(Equal)"
    ),
    "objects in an array": (
        _EQUAL + "Equal.__sub__ = Equal.__abs__ = Equal.__le__ = Equal.__lt__ = "
        "lambda self, *a: True\ndef scale(x):\n"
        "    return np.array([Equal() for _ in np.atleast_1d(x)], dtype=object)"
    ),
    "an array by protocol": (
        "class Lazy:\n    def __init__(self, x):\n        self.x = x\n"
        "    def __array__(self, *a, **k):\n        return 2 * np.asarray(self.x)\n"
        "    def __eq__(self, other):\n        return True\n"
        "    def __float__(self):\n        return 2.0\n"
        "def scale(x):\n    return Lazy(x)"
    ),
    "nothing but NaN": "def scale(x):\n    return np.full(np.shape(x), np.nan)",
    "an array that forgets": "def scale(x):\n    return np.empty(np.shape(x), dtype='V8')",
    "strings": "def scale(x):\n    return np.asarray(x).astype(str)",
    "a generator": "def scale(x):\n    return (v for v in np.atleast_1d(x))",
    "a deep list": (
        "def scale(x):\n    v = []\n    for _ in range(100_000):\n        v = [v]\n    return v"
    ),
    "itself": "def scale(x):\n    v = []\n    v.append(v)\n    return v",
    "a huge number": "def scale(x):\n    return 10 ** 200_000",
    "a billion zeros": "def scale(x):\n    return np.zeros(1 << 27)",
    "a huge shape": "def scale(x):\n    return np.broadcast_to(np.zeros(1), (1 << 40,))",
    "a lone surrogate": "def scale(x):\n    return '\\ud800'",
    "a function": "def scale(x):\n    return scale",
    "a module": "def scale(x):\n    import os\n    return os",
    "a type": "def scale(x):\n    return type('Equal', (), {'__eq__': lambda *a: True})",
    "a pickle": (
        "class Bomb:\n    def __reduce__(self):\n        import os\n"
        "        return os.system, ('touch /tmp/bombed',)\n"
        "def scale(x):\n    return Bomb()"
    ),
    "another pickle": (
        "class Bomb:\n    def __reduce__(self):\n        return exec, ('scale = None',)\n"
        "def scale(x):\n    return np.array([Bomb()], dtype=object)"
    ),
    "an exception with an object": (
        _EQUAL + "def scale(x):\n    raise ValueError(Equal(), [Equal()])"
    ),
    "an assertion of its own": "def scale(x):\n    raise AssertionError('all fine')",
    "changes what it is given": (
        "def scale(x):\n    try:\n        x[:] = [0] * len(x)\n    except TypeError:\n        pass\n"
        "    return np.asarray(x)"
    ),
    "an exit": "def scale(x):\n    raise SystemExit",
    "an interrupt": "def scale(x):\n    raise KeyboardInterrupt",
    "death when asked": "import os\ndef scale(x):\n    os._exit(0)",
    "silence when asked": "import time\ndef scale(x):\n    time.sleep(60)",
}
