"""Answers that use up what a machine has; each ends in a status, and the next run is well."""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: E501

FLOODS: dict[str, str] = {
    "open files": "import os\nkept = []\ntry:\n    while True:\n"
    "        kept.append(os.open('/dev/null', 0))\nexcept OSError:\n    pass\n",
    "sockets": "import socket\nkept = []\ntry:\n    while True:\n"
    "        kept.append(socket.socketpair())\nexcept OSError:\n    pass\n",
    "pipes full of data": "import os\nkept = []\ntry:\n    while True:\n        r, w = os.pipe()\n"
    "        os.write(w, b'x' * 65536)\n        kept.append((r, w))\nexcept OSError:\n    pass\n",
    "files in memory": "import os\nfd = os.memfd_create('m')\ntry:\n    while True:\n"
    "        os.write(fd, b'x' * 10_000_000)\nexcept OSError:\n    pass\n",
    "shared memory": "import mmap\nkept = []\nwhile True:\n    m = mmap.mmap(-1, 50_000_000)\n"
    "    m[:] = b'x' * 50_000_000\n    kept.append(m)\n",
    "shared memory files": "n = 0\ntry:\n    while True:\n        n += 1\n"
    "        open(f'/dev/shm/{n}', 'wb').write(b'x' * 10_000_000)\nexcept OSError:\n    pass\n",
    "empty files": "n = 0\ntry:\n    while n < 300_000:\n        n += 1\n"
    "        open(f'/tmp/e{n}', 'w').close()\nexcept OSError:\n    pass\n",
    "a sparse file": "try:\n    with open('/tmp/sparse', 'wb') as f:\n"
    "        f.truncate(1 << 40)\nexcept OSError:\n    pass\n",
    "hard links and long names": "import os\nopen('/tmp/a', 'w').close()\ntry:\n"
    "    for n in range(100_000):\n        os.link('/tmp/a', '/tmp/' + 'n' * 240 + str(n))\n"
    "except OSError:\n    pass\n",
    "a regular expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')\n",
    "a power": "9 ** 9 ** 9\n",
    "a sleep in C": "import ctypes\nctypes.PyDLL(None).sleep(3600)\n",
    "digits": "import sys\nsys.set_int_max_str_digits(0)\nstr(10 ** 30_000_000)\n",
    "a bomb of zeros": "import zlib\nsmall = zlib.compress(b'\\0' * 100_000_000, 9)\n"
    "big = [zlib.decompress(small) for _ in range(20)]\n",
    "a stack without end": "import sys\nsys.setrecursionlimit(10 ** 9)\n"
    "def down(v):\n    return down([v])\ndown(0)\n",
    "a C stack without end": "import sys\nsys.setrecursionlimit(10 ** 9)\n"
    "class Down:\n    def __repr__(self):\n        return repr(self)\nrepr(Down())\n",
    "deep code": "eval('(' * 90 + '1' + ')' * 90)\nexec('x = ' + '-' * 100_000 + '1')\n",
    "ten thousand pictures": "for n in range(10_000):\n    display(n)\n",
    "a big picture": "from IPython.display import Image\ndisplay(Image(b'\\x89PNG' + b'x' * 60_000_000))\n",
    "a big page": "from IPython.display import HTML\ndisplay(HTML('<b>' * 5_000_000))\n",
    "deep markup": "from IPython.display import HTML\ndisplay(HTML('<div>' * 50_000))\n",
    "a big picture in JSON": "display({'application/json': {str(n): [n] * 10 for n in range(200_000)}},"
    " raw=True)\n",
    "deep data": "v = []\nfor _ in range(5_000):\n    v = [v]\n"
    "display({'application/json': v}, raw=True)\n",
    "updates": "h = display(0, display_id=True)\nfor n in range(20_000):\n    h.update(n)\n",
    "cleared output": "from IPython.display import clear_output\nfor n in range(20_000):\n"
    "    print(n)\n    clear_output(wait=n % 2)\n",
    "errors on stderr": "import sys\nwhile True:\n    sys.stderr.write('x' * 10_000)\n",
    "raw descriptors": "import os\nwhile True:\n    os.write(1, b'x' * 10_000)\n",
    "one line without end": "import sys\nfor _ in range(3_000_000):\n    sys.stdout.write('x')\n",
    "a huge message": "raise ValueError('x' * 50_000_000)\n",
    "a huge traceback": "class E(Exception):\n    def _render_traceback_(self):\n"
    "        return ['x' * 1_000_000] * 200\nraise E\n",
    "a traceback of other things": "class E(Exception):\n    def _render_traceback_(self):\n"
    "        return [5, None, {}]\nraise E\n",
    "an error with a huge name": "raise type('E' * 5_000_000, (Exception,), {})\n",
    "a chain of errors": "def chain(n):\n    try:\n        raise ValueError(n)\n"
    "    except ValueError as e:\n        if n:\n            raise KeyError(n) from e\n"
    "error = None\nfor n in range(3_000):\n    new = ValueError(n)\n    new.__cause__ = error\n"
    "    error = new\nraise error\n",
    "a value without end": "class V:\n    def __repr__(self):\n        while True:\n            pass\nV()\n",
    "questions": "get_ipython().kernel.raw_input = None\nfor _ in range(3):\n    try:\n        input()\n"
    "    except Exception:\n        pass\n",
    "widgets": "from ipykernel.comm import Comm\nfor n in range(500):\n"
    "    Comm(target_name='x', data={'n': 'x' * 1000})\n",
    "cells within cells": "def again(n):\n    if n:\n        get_ipython().run_cell(f'again({n - 1})')\n"
    "again(60)\n",
    "payloads": "for n in range(3_000):\n    get_ipython().set_next_input('x' * 1_000)\n",
    "tasks": "import asyncio\nasync def again():\n    while True:\n        await asyncio.sleep(0)\n"
    "kept = [asyncio.ensure_future(again()) for _ in range(100)]\n",
    "busy children": "import os\nfor _ in range(20):\n    if os.fork() == 0:\n"
    "        while True:\n            pass\n",
    "programs left running": "import subprocess\n"
    "kept = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(20)]\n",
    "a dump of memory": "import os, resource\nsoft, hard = resource.getrlimit(resource.RLIMIT_CORE)\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\nkept = b'x' * 50_000_000\nos.abort()\n",
    "interrupts itself": "import os, signal, threading, time\n"
    "def go():\n    while True:\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(0.001)\n"
    "threading.Thread(target=go, daemon=True).start()\n",
    "stops its group": "import os, signal\nos.killpg(0, signal.SIGSTOP)\n",
    "ends its group": "import os, signal\nos.killpg(0, signal.SIGKILL)\n",
    "never ends its threads": "import threading, time\n"
    "for _ in range(20):\n    threading.Thread(target=time.sleep, args=(600,)).start()\n",
    "exits slowly": "import atexit, time\natexit.register(time.sleep, 600)\n",
}
