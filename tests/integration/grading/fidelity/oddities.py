"""Assignments off the beaten path: async, magics, ends of every kind, twins, frames, old formats."""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: E501, ISC004

from collections.abc import Callable

from tests.factories.notebooks import (
    Notebook,
    checked,
    manual,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)
from tests.integration.grading.fidelity import changes
from tests.integration.grading.fidelity.parts import Assignment

SHELL = Assignment(
    name="shell",
    notebooks={
        "shell": notebook(
            read_only("imports", "import asyncio, subprocess, sys, time"),
            solution(
                "work",
                "async def work(x):\n    ### BEGIN SOLUTION\n    await asyncio.sleep(0)\n"
                "    return 2 * x\n    ### END SOLUTION",
            ),
            plain("await work(1)"),
            checked("t_await", 2, "assert await work(2) == 4"),
            checked("t_gather", 2, "sum(await asyncio.gather(work(0.25), work(0.5)))"),
            checked("t_timed", 1, "%time result = await work(1)\nassert result == 2"),
            solution(
                "say",
                "def say():\n    ### BEGIN SOLUTION\n    print('hello')\n    ### END SOLUTION",
            ),
            checked("t_captured", 1, "%%capture said\nsay()"),
            checked("t_said", 1, "assert 'hello' in said.stdout and not said.stderr, said.stderr"),
            checked("t_silent", 1, "say()"),
            checked("t_shell", 1, "lines = !echo one; echo two\nassert lines == ['one', 'two']"),
            checked("t_bash", 1, "%%bash\necho from bash"),
            checked("t_bash_stderr", 1, "%%bash\necho from bash >&2"),
            checked("t_bash_fails", 1, "%%bash\nexit 3"),
            checked("t_file", 1, "%%writefile made.txt\nmade here"),
            checked("t_cat", 1, "assert open('made.txt').read().strip() == 'made here'"),
            checked("t_lines", 1, "%%python\nprint('another python')"),
        )
    },
    answers={
        "work": [
            "async def work(x):\n    await asyncio.sleep(0)\n    return 2 * x",
            "async def work(x):\n    return x",
            "def work(x):\n    return 2 * x",
            "async def work(x):\n    await asyncio.sleep(0.01)\n    raise ValueError(x)",
            "async def work(x):\n    task = asyncio.create_task(asyncio.sleep(0, 2 * x))\n"
            "    return await task",
            "async def work(x):\n    return (await asyncio.to_thread(lambda: 2 * x))",
            "async def work(x):\n    nap = asyncio.sleep(0)\n    try:\n        asyncio.run(nap)\n"
            "    finally:\n        nap.close()\n    return 2 * x",
            "async def work(x):\n    return await asyncio.wait_for(asyncio.sleep(9), 0.01)",
            "async def work(x):\n    print('out')\n    display(x)\n    return 2 * x",
            "import nothing_like_this\nasync def work(x):\n    return 2 * x",
            None,
        ],
        "say": [
            "def say():\n    print('hello')",
            "def say():\n    print('hello', file=sys.stderr)",
            "def say():\n    subprocess.run(['echo', 'hello'])",
            "def say():\n    subprocess.run('echo hello >&2', shell=True)",
            "def say():\n    get_ipython().system('echo hello')",
            "def say():\n    get_ipython().run_line_magic('pinfo', 'print')",
            "def say():\n    print('hello')\n    sys.stdout.flush()\n    print('x', end='')",
            "say = 'hello'",
            "%%time\ndef say():\n    print('hello')",
            "%%javascript\nalert('hello')",
            "!echo hello\ndef say():\n    print('hello')",
            "%nosuchmagic\ndef say():\n    print('hello')",
            "def say?():\n    print('hello')",
            "print?\ndef say():\n    print('hello')",
            "def say():\n    import os\n    os.system('echo hello')",
            "def say():\n    print('hello', flush=True)\n    print('x' * 20_000)",
            None,
        ],
    },
    changes={
        name: changes.ANY[name] for name in ("notes", "failing cell", "helper", "copied answer")
    },
    count=56,
)

ENDINGS = Assignment(
    name="endings",
    notebooks={
        "endings": notebook(
            solution("go", "def go():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"),
            checked("t_go", 2, "assert go() == 1"),
            checked("t_value", 2, "go()"),
            checked("t_free", 1, "assert True"),
        )
    },
    answers={
        "go": [
            "def go():\n    return 1",
            "def go():\n    while True:\n        pass",
            "def go():\n    import time\n    time.sleep(60)",
            "def go():\n    try:\n        while True:\n            pass\n"
            "    except KeyboardInterrupt:\n        return 1",
            "while True:\n    pass",
            "import time\ntime.sleep(60)\ndef go():\n    return 1",
            "def go():\n    import os\n    os._exit(0)",
            "def go():\n    import os\n    os._exit(1)",
            "import os\nos._exit(3)",
            "def go():\n    import ctypes\n    ctypes.string_at(0)",
            "import ctypes\nctypes.string_at(0)",
            "def go():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)",
            "def go():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGTERM)",
            "def go():\n    import os\n    os.abort()",
            "def go():\n    import faulthandler\n    faulthandler._sigsegv()",
            "def go():\n    import sys\n    sys.exit(1)",
            "import sys\nsys.exit()",
            "raise SystemExit(0)\ndef go():\n    return 1",
            "exit\ndef go():\n    return 1",
            "def go():\n    raise KeyboardInterrupt",
            "raise KeyboardInterrupt",
            "def go():\n    raise SystemExit(3)",
            "def go():\n    raise BaseException('odd')",
            "def go():\n    raise GeneratorExit",
            # At its full depth, stock writes at its traceback for half of the limit.
            "import sys\nsys.setrecursionlimit(300)\ndef go():\n    return go()",
            "import sys\nsys.setrecursionlimit(50_000)\ndef go(n=0):\n    return go(n + 1) if n < 9_000 else 1",
            "def go():\n    return input()",
            "def go():\n    import getpass\n    return getpass.getpass()",
            "def go():\n    raise MemoryError",
            "def go():\n    raise StopIteration",
            "def go():\n    import asyncio\n    raise asyncio.CancelledError",
            "class Odd(Exception):\n    def __str__(self):\n        raise self\n"
            "def go():\n    raise Odd",
            "class Odd(Exception):\n    def __repr__(self):\n        return 1\n"
            "def go():\n    return Odd()",
            "class Odd:\n    def __repr__(self):\n        raise ValueError\n"
            "def go():\n    return Odd()",
            "def go():\n    import os\n    if os.fork() == 0:\n        os._exit(0)\n"
            "    os.wait()\n    return 1",
            "def go():\n    import threading\n    threading.Thread(target=lambda: 1 / 0).start()\n"
            "    return 1",
            "def go():\n    import multiprocessing\n"
            "    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
            "        return pool.map(abs, [-1])[0]",
            "def go():\n    import atexit, sys\n    atexit.register(print, 'bye')\n    return 1",
            "import sys\nsys.stdout.close()\ndef go():\n    return 1",
            "import sys\nsys.stderr = None\ndef go():\n    return 1",
            "import builtins\ndel builtins.print\ndef go():\n    return 1",
            "%reset -f\ndef go():\n    return 1",
            "get_ipython().ast_node_interactivity = 'none'\ndef go():\n    return 0",
            "raise ValueError('''many\nlines\n''' * 100)",
            "def go():\n    raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
            "def go():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n"
            "        raise ValueError('x') from e",
            "from __future__ import annotations, barry_as_FLUFL\ndef go():\n    return 1",
            "return 1",
            "yield 1",
            "\tdef go():\n        return 1",
            "def go():\n    return '\\ud800'",
            "def go():\n    print(b'\\xff'.decode('utf8', 'replace'))\n    return 1",
            "def go():\n    print('\\x00\\x1b[31mred\\x1b[0m\\r\\n')\n    return 1",
            None,
        ],
    },
    changes={"notes": changes.add_notes, "failing cell": changes.add_failing_cell},
    count=58,
    cell_seconds=5,
)


def _part(name: str, points: float) -> Notebook:
    return notebook(
        read_only(f"imports_{name}", "from lib.tools import twice\nDATA = open('data.csv').read()"),
        solution(
            f"answer_{name}",
            f"def {name}(x):\n    ### BEGIN SOLUTION\n    return twice(x)\n    ### END SOLUTION",
        ),
        checked(
            f"t_{name}",
            points,
            f"assert {name}(2) == 4\n### BEGIN HIDDEN TESTS\n"
            f"assert {name}(len(DATA.split())) == 6\n### END HIDDEN TESTS",
        ),
        manual(f"why_{name}", 1, "Why?"),
    )


def _leave_out(*paths: str) -> Callable[[dict[str, bytes]], None]:
    def leave(files: dict[str, bytes]) -> None:
        for path in paths:
            files.pop(path)

    return leave


TWINS = Assignment(
    name="twins",
    notebooks={"alpha": _part("alpha", 2), "beta": _part("beta", 3), "gamma": _part("gamma", 0.5)},
    files={"data.csv": b"1\n2\n3\n", "lib/tools.py": b"def twice(x):\n    return 2 * x\n"},
    answers={
        "answer_alpha": [
            "def alpha(x):\n    return twice(x)",
            "def alpha(x):\n    return 4",
            "open('left.txt', 'w').write('x')\ndef alpha(x):\n    return twice(x)",
            None,
        ],
        "answer_beta": [
            "def beta(x):\n    return x + x",
            "beta = alpha",
            "import os\ndef beta(x):\n    return 2 * x if not os.path.exists('gone.txt') else 0",
            None,
        ],
        "answer_gamma": ["gamma = twice", "1 / 0", None],
        "why_alpha": [None, "So."],
        "why_gamma": ["So.", None],
    },
    changes={name: changes.ANY[name] for name in ("notes", "lines", "kernel", "copied answer")},
    hand_ins={
        "alpha left out": _leave_out("alpha.ipynb"),
        "gamma left out": _leave_out("gamma.ipynb"),
        "only beta": _leave_out("alpha.ipynb", "gamma.ipynb"),
        "own data": lambda files: files.update({"data.csv": b"1\n"}),
        "data left out": _leave_out("data.csv", "lib/tools.py"),
        "own module": lambda files: files.update({"lib/tools.py": b"twice = abs\n"}),
        "more files": lambda files: files.update(
            {"notes.txt": b"x", "extra.ipynb": files["beta.ipynb"]}
        ),
    },
    count=36,
)

FRAMED = Assignment(
    name="framed",
    notebooks={
        "framed": notebook(
            solution("answer", "### BEGIN SOLUTION\nanswer = BASE + 1\n### END SOLUTION"),
            checked("t_answer", 2, "assert answer == 11"),
        )
    },
    answers={
        "answer": ["answer = BASE + 1", "answer = 11", "BASE = 10\nanswer = 9", "BASE += 1", None]
    },
    changes=changes.ANY,
    config=(
        'c.IncludeHeaderFooter.header = "source/header.ipynb"\n'
        'c.IncludeHeaderFooter.footer = "source/footer.ipynb"\n'
        'c.ClearSolutions.begin_solution_delimeter = "BEGIN SOLUTION"\n'
    ),
    course_files={
        "source/header.ipynb": to_bytes(
            notebook(read_only("header", "BASE = 10"), plain("# Name:", "markdown"))
        ),
        "source/footer.ipynb": to_bytes(
            notebook(
                checked("t_footer", 1, "assert BASE == 10"), manual("thoughts", 1, "Thoughts?")
            )
        ),
    },
    count=24,
)


def _old(minor: int, schema: int) -> Notebook:
    value = notebook(
        read_only("imports", "import math"),
        solution(
            "root",
            "def root(x):\n    ### BEGIN SOLUTION\n    return math.sqrt(x)\n    ### END SOLUTION",
        ),
        checked("t_root", 2, "assert root(4) == 2"),
        checked("t_share", 1, "root(0.25)"),
        manual("explain", 2, "Explain."),
        minor=minor,
        kernel={"name": "rt_grader", "display_name": "Python [Root]", "language": "python"},
    )
    for cell in value["cells"]:
        nbgrader = cell["metadata"]["nbgrader"]
        nbgrader.pop("task")
        nbgrader["schema_version"] = schema
        if not schema:
            nbgrader.pop("schema_version")
            # The first nbgraders left out what was false, and wrote points as text.
            for key in [key for key, set_ in nbgrader.items() if set_ is False]:
                nbgrader.pop(key)
            if "points" in nbgrader:
                nbgrader["points"] = str(nbgrader["points"])
    return value


OLD = Assignment(
    name="old",
    notebooks={"schema0": _old(0, 0), "schema1": _old(2, 1), "schema2": _old(4, 2)},
    answers={
        "root": [
            "def root(x):\n    return math.sqrt(x)",
            "def root(x):\n    return x / 2",
            "def root(x):\n    return -1",
            "root = math.foo",
            None,
        ],
        "explain": [None, "It is the root."],
    },
    changes={
        "3": changes.as_3,
        "4.0": changes.as_4_0,
        "4.1": changes.as_4_1,
        "4.2": changes.as_4_2,
        "4.4": changes.as_4_4,
        "schema 0": changes.schema_0,
        "schema 1": changes.schema_1,
        "schema 2": changes.schema_2,
        "kernel": changes.other_kernel,
        "no kernel": changes.no_kernel,
        "notes": changes.add_notes,
    },
    count=24,
)

ASSIGNMENTS = (SHELL, ENDINGS, TWINS, FRAMED, OLD)
