"""Submissions that attack the grader; each must end in a status, most with a reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits
from tests.factories.notebooks import (
    Notebook,
    answered,
    cell_of,
    checked,
    notebook,
    plain,
    solution,
    to_bytes,
)

LIMITS = Limits(
    cell_seconds=5,
    wall_seconds=40,
    memory_bytes=400 << 20,
    processes=64,
    output_bytes=1 << 20,
    disk_bytes=32 << 20,
)
NAME = "double"
RIGHT = "def double(x):\n    return 2 * x"
WRONG = "def double(x):\n    return x"

SOURCE = AssignmentSource(
    name="attacked",
    files={
        f"{NAME}.ipynb": to_bytes(
            notebook(
                solution(
                    "answer",
                    "def double(x):\n    ### BEGIN SOLUTION\n"
                    "    return 2 * x\n    ### END SOLUTION",
                ),
                checked(
                    "t_one",
                    2,
                    "assert double(1) == 2\n"
                    "### BEGIN HIDDEN TESTS\nassert double(21) == 42  # HUNTER2\n"
                    "### END HIDDEN TESTS",
                ),
                checked("t_share", 2, "double(0.75)"),
            )
        ),
        "numbers.txt": b"1\n",
    },
)
RELEASED = build(SOURCE).student_files[f"{NAME}.ipynb"]


def code(source: str) -> dict[str, bytes]:
    """A submission whose answer cell is `source`."""
    return {f"{NAME}.ipynb": answered(RELEASED, {"answer": source})}


def raw(content: bytes) -> dict[str, bytes]:
    return {f"{NAME}.ipynb": content}


def changed(change: Callable[[Notebook], None], answer: str = WRONG) -> dict[str, bytes]:
    return raw(answered(RELEASED, {"answer": answer}, change))


def _skip_everything(value: Notebook) -> None:
    for cell in value["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]


def _double_ids(value: Notebook) -> None:
    value["cells"].append({**cell_of(value, "t_one"), "source": "pass", "id": "again"})


def _schema_99(value: Notebook) -> None:
    for cell in value["cells"]:
        cell["metadata"]["nbgrader"]["schema_version"] = 99


def _no_points(value: Notebook) -> None:
    for cell in value["cells"]:
        cell["metadata"]["nbgrader"] |= {"points": -7, "grade": "no", "solution": [], "task": {}}


def _strange_ids(value: Notebook) -> None:
    strange_ids: list[object] = [[], {}, 7, "", "x" * 9999, None]
    for number, strange in enumerate(strange_ids):
        cell = plain("pass")
        cell["metadata"]["nbgrader"] = {"grade_id": strange, "grade": True}
        value["cells"].insert(0, {**cell, "id": f"s{number}"})


def _attachments(value: Notebook) -> None:
    value["metadata"] = "none"
    for cell in value["cells"]:
        cell["attachments"] = {"x.png": {"image/png": "AAAA"}}
        cell["outputs"] = [{"output_type": "nonsense"}, 5]


def _other_kernel(value: Notebook) -> None:
    value["metadata"]["kernelspec"] = {"name": "../../bin/sh", "argv": ["sh"], "language": "sh"}


def _dropped_tests(value: Notebook) -> None:
    value["cells"] = [cell_of(value, "answer")]


def _tests_first(value: Notebook) -> None:
    value["cells"].reverse()


#: Submissions rejected before anything runs.
UNREADABLE: dict[str, dict[str, bytes]] = {
    "not JSON": raw(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "empty file": raw(b""),
    "deep JSON": raw(b'{"nbformat": 4, "cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "many containers": raw(b'{"nbformat": 4, "cells": [' + b"[]," * 2_000_000 + b"[]]}"),
    "an array": raw(b"[1, 2, 3]"),
    "no cells": raw(b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}'),
    "cells are numbers": raw(b'{"nbformat": 4, "cells": [1, 2]}'),
    "half a notebook": raw(RELEASED[: len(RELEASED) // 2]),
    "format from the future": raw(RELEASED.replace(b'"nbformat": 4', b'"nbformat": 40')),
    "format two, broken": raw(b'{"nbformat": 2, "worksheets": [{"cells": 5}]}'),
    "a number too long": raw(b'{"nbformat": ' + b"9" * 10_000 + b"}"),
    "too many cells": raw(to_bytes(notebook(*[plain("1")] * 6000))),
    "200 MB": raw(b" " * (200 << 20)),
    "another assignment": raw(to_bytes(notebook(solution("other", "1"), plain("2")))),
    "only a Python file": {"numpy.py": b"print('mine')"},
    "nothing": {},
}

#: Tricks that must earn nothing; the wrong answer scores 0.75 for its partial credit alone.
TRICKS: dict[str, dict[str, bytes]] = {
    "skip-execution tags": changed(_skip_everything),
    "duplicate ids": changed(_double_ids),
    "schema version 99": changed(_schema_99),
    "no points": changed(_no_points),
    "strange ids": changed(_strange_ids),
    "attachments and outputs": changed(_attachments),
    "another kernel": changed(_other_kernel),
    "tests left out": changed(_dropped_tests),
    "tests first": changed(_tests_first),
    "own numpy": code("import numpy\nassert 'site-packages' in numpy.__file__\n" + WRONG)
    | {"numpy.py": b"raise SystemExit"},
    "own ipykernel": code(WRONG) | {"ipykernel_launcher.py": b"raise SystemExit"},
    "lone surrogate": changed(lambda v: v["cells"].insert(0, plain("'\ud800'"))),
    "null byte": changed(lambda v: v["cells"].insert(0, plain("x = '\0'"))),
    "own startup file": code(
        "import os\nos.makedirs('/tmp/.ipython/profile_default/startup', exist_ok=True)\n"
        "open('/tmp/.ipython/profile_default/startup/0.py', 'w').write('1/0')\n" + WRONG
    ),
}

#: Code that breaks out, or tries to: (answer, status, words of the reason).
BOMBS: dict[str, tuple[str, str, str]] = {
    "endless loop": (
        "def double(x):\n    while True:\n        pass",
        "timed_out",
        "took longer than 5 seconds",
    ),
    "loop that takes no interrupt": (
        (
            "while True:\n    try:\n        while True:\n            pass\n"
            "    except BaseException:\n        pass"
        ),
        "timed_out",
        "took longer than 5 seconds",
    ),
    "stops itself": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "timed_out",
        "took longer than 5 seconds",
    ),
    "os._exit": ("import os\nos._exit(0)", "crashed", "died"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", "crashed", "died"),
    "kills everything else": ("import os\nos.kill(-1, 9)", "graded", ""),
    "segfault": ("import ctypes\nctypes.string_at(0)", "crashed", "died"),
    "memory bomb": (
        "a = []\nwhile True:\n    a.append(bytearray(10_000_000))",
        "out_of_memory",
        "400 MB",
    ),
    "fork bomb": (
        "import os\nwhile True:\n    os.fork()",
        "any",
        "",
    ),
    "thread bomb": (
        (
            "import threading, time\n"
            "while True:\n    threading.Thread(target=time.sleep, args=(60,)).start()"
        ),
        "any",
        "",
    ),
    "prints without end": (
        "while True:\n    print('x' * 1000)",
        "crashed",
        "1 MB and was stopped",
    ),
    "displays without end": (
        "while True:\n    display('x' * 1000)",
        "any",
        "",
    ),
    "prints whatever happens": (
        (
            "while True:\n    try:\n        while True:\n            print('x' * 100_000)\n"
            "    except BaseException:\n        pass"
        ),
        "any",
        "",
    ),
    "one endless message": (
        (
            "import zmq\n"
            "raw = get_ipython().kernel.iopub_thread.socket\n"
            "raw.setsockopt(zmq.SNDHWM, 0)\n"
            "while True:\n    raw.send(b'x' * 900_000, zmq.SNDMORE)"
        ),
        "any",
        "",
    ),
    "garbage for messages": (
        (
            "s = get_ipython().kernel.iopub_thread.socket\n"
            "s.send_multipart([b'a', b'<IDS|MSG>', b'b', b'c'])"
        ),
        "any",
        "",
    ),
    "deep messages": (
        (
            "k = get_ipython().kernel\n"
            "class Deep(dict):\n    pass\n"
            "k.session.pack = lambda o: b'[' * 100000 + b']' * 100000\n"
            "k.session.send(k.iopub_thread.socket, 'stream', {})"
        ),
        "any",
        "",
    ),
    "fills the disk": (
        "with open('/tmp/full', 'wb') as f:\n    while True:\n        f.write(b'x' * 1_000_000)",
        "graded",
        "",
    ),
    "fills the connection folder": (
        (
            "import os\nfolder = os.path.dirname(os.environ['MPLCONFIGDIR'])\n"
            "for n in range(100):\n"
            "    with open(f'{folder}/{n}', 'wb') as f:\n        f.write(b'x' * 1_000_000)\n"
            "import time\ntime.sleep(2)"
        ),
        "crashed",
        "files",
    ),
    "deep folders": (
        (
            "import os\nos.chdir(os.path.dirname(os.environ['MPLCONFIGDIR']))\n"
            "for n in range(150):\n    os.mkdir('d')\n    os.chdir('d')\n"
            "def double(x):\n    return 0"
        ),
        "graded",
        "",
    ),
    "links to the broker": (
        (
            "import os\nfolder = os.path.dirname(os.environ['MPLCONFIGDIR'])\n"
            "os.unlink(f'{folder}/s-2')\nos.symlink('/etc/passwd', f'{folder}/s-2')\n"
            "os.symlink('/', f'{folder}/root')\n"
            "def double(x):\n    return 0"
        ),
        "graded",
        "",
    ),
    "value over the maximum": (
        "def double(x):\n    return 2 if x == 1 else 42 if x == 21 else 1000",
        "needs_manual",
        "no score",
    ),
    "value without text": (
        (
            "class Odd:\n    def _repr_mimebundle_(self, **k):\n"
            "        return {'text/html': '<b>x</b>'}\n"
            "def double(x):\n    return Odd()"
        ),
        "any",
        "",
    ),
    "endless value": ("def double(x):\n    return 'x' * 5_000_000", "any", ""),
    "raises strangely": (
        (
            "class Odd(BaseException):\n    def __str__(self):\n        raise self\n"
            "def double(x):\n    raise Odd"
        ),
        "any",
        "",
    ),
}

#: Code that looks for what it must not see; it prints FOUND if it does.
SPIES: dict[str, str] = {
    "the instructor's folder": (
        "import os, sys\n"
        "known = ('/proc', '/sys', '/dev', '/usr', sys.prefix, sys.base_prefix)\n"
        "for folder, below, names in os.walk('/'):\n"
        "    if folder.startswith(known):\n        below[:] = []\n        continue\n"
        "    for name in names:\n"
        "        if name.endswith(('.ipynb', '.db', '.sqlite')):\n"
        "            print('FOUND', folder, name)\n"
    ),
    "hidden tests in memory": (
        "import gc\n"
        "for thing in gc.get_objects():\n"
        "    try:\n"
        "        if isinstance(thing, dict) and any(\n"
        "            isinstance(v, str) and 'HUNT' + 'ER2' in v for v in list(thing.values())):\n"
        "            print('FOUND')\n"
        "    except Exception:\n        pass\n"
    ),
    "our environment": (
        "import os\n"
        "for key in os.environ:\n"
        "    if 'LMS' in key or 'TOKEN' in key or 'SECRET' in key:\n        print('FOUND', key)\n"
    ),
    "other processes": (
        "import os\n"
        "mine = {os.getpid(), os.getppid(), 1}\n"
        "print(*['FOUND' for p in os.listdir('/proc') if p.isdigit() and int(p) not in mine])\n"
    ),
    "the network": (
        "import socket\n"
        "for host in ('1.1.1.1', '8.8.8.8', '127.0.0.1'):\n"
        "    for port in (22, 53, 80, 8000):\n"
        "        s = socket.socket()\n        s.settimeout(0.2)\n"
        "        try:\n            s.connect((host, port))\n"
        "            print('FOUND', host, port)\n"
        "        except OSError:\n            pass\n"
    ),
    "folders to write": (
        "import os, sys\n"
        "for path in ('/', '/usr', '/etc', '/root', os.path.dirname(sys.executable)):\n"
        "    try:\n        open(f'{path}/mark', 'w').close()\n        print('FOUND', path)\n"
        "    except OSError:\n        pass\n"
    ),
}


def make_strange_files(folder: Path, victim: Path) -> dict[str, Path]:
    """Submission folders whose notebook is no regular file."""
    made: dict[str, Path] = {}

    def add(label: str, make: Callable[[Path], Any]) -> None:
        submission = folder / label.replace(" ", "-")
        submission.mkdir()
        make(submission / f"{NAME}.ipynb")
        made[label] = submission

    add("link to a classmate", lambda path: path.symlink_to(victim))
    add("link to nowhere", lambda path: path.symlink_to("/nowhere"))
    add("link to a device", lambda path: path.symlink_to("/dev/zero"))
    add("named pipe", os.mkfifo)
    add("folder", lambda path: path.mkdir())
    add("sparse 200 MB", _make_sparse)
    return made


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 << 20)


def source_of(cell: dict[str, Any]) -> str:
    return str(cell["source"])


def notebook_in(content: bytes) -> Notebook:
    value: Notebook = json.loads(content)
    return value
