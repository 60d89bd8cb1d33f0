"""Attacks on the line between a program of cells and the worker, and on what listens to it.

They speak the worker's own frames (and, where a kernel runs, write rubbish on its sockets). The
wrong answer stands below each.
"""

_SPEAK = """
import gc, json, os, socket, struct, threading, time

def lines():
    found = []
    for name in os.listdir('/proc/self/fd'):
        try:
            if os.readlink(f'/proc/self/fd/{name}').startswith('socket:'):
                found.append(int(name))
        except OSError:
            pass
    return found

def frame(header, blobs=b''):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('>II', len(head), len(blobs)) + head + blobs

def say(data):
    for line in lines():
        try:
            os.write(line, data)
        except OSError:
            pass

def fine(n, value=None):
    shown = {'data': {'text/plain': value}, 'metadata': {}, 'execution_count': n}
    result = frame({'id': n, 'msg_type': 'execute_result', 'content': shown}) if value else b''
    return result + frame({'id': n, 'done': {'status': 'ok'}})

def patch(change):
    for thing in gc.get_objects():
        if type(thing).__name__ in ('Line', 'ProgramLine'):
            kind = type(thing)
            real = kind.send
            def send(self, header, *a, real=real, **k):
                for changed in change(header):
                    real(self, changed, *a, **k)
            kind.send = send
            return
"""

_TAKE_OVER = """
def impersonate():
    line = socket.socket(fileno=os.dup(lines()[0]))
    line.setblocking(True)
    def read(size):
        data = b''
        while len(data) < size:
            more = line.recv(size - len(data))
            if not more:
                os._exit(0)
            data += more
        return data
    while True:
        head, rest = struct.unpack('>II', read(8))
        request = json.loads(read(head))
        read(rest)
        line.sendall(fine(request.get('id', 0), '2'))
"""

_ALL = "b''.join(fine(n, '2') for n in range(60))"
_BYTES = {
    "half a frame": "b'\\0\\0\\1\\0\\0\\0'",
    "a header without end": "struct.pack('>II', 1 << 20, 0) + b'{'",
    "an oversize header": "struct.pack('>II', 0xFFFFFFFF, 0) + b'{' * 1000",
    "an oversize blob": "struct.pack('>II', 2, 0xFFFFFFFF) + b'{}'",
    "an empty frame": "struct.pack('>II', 0, 0)",
    "no JSON": "frame(b'\\xff\\xfe{')",
    "deep JSON": "frame(b'[' * 200_000 + b']' * 200_000)",
    "a number too long": "frame(b'{\"id\": ' + b'9' * 10_000 + b'}')",
    "no number": 'frame(b\'{"id": NaN, "done": {"status": "ok"}}\')',
    "a list": "frame([1, 2])",
    "an id of another kind": "frame({'id': True, 'done': {'status': 'ok'}}) + frame({'id': '1'})",
    "an id from the past": "frame({'id': -1, 'done': {'status': 'ok'}})",
    "done with nothing": "b''.join(frame({'id': n, 'done': None}) for n in range(60))",
    "done with a list": "b''.join(frame({'id': n, 'done': [1]}) for n in range(60))",
    "an unknown message": "b''.join(frame({'id': n, 'msg_type': 'shutdown', 'content': {}})"
    " for n in range(60))",
    "no content": "b''.join(frame({'id': n, 'msg_type': 'stream'}) for n in range(60))",
    "content of another kind": "b''.join(frame({'id': n, 'msg_type': t, 'content': c})"
    " for n in range(60) for t in ('stream', 'execute_result', 'display_data', 'error',"
    " 'clear_output', 'update_display_data', 'execute_input')"
    " for c in ([], None, 7, {'name': 5, 'text': {}}, {'data': [], 'metadata': 0},"
    " {'ename': {}, 'evalue': [], 'traceback': 'x'}, {'data': {5: 5, 'text/plain': {}}}))",
    "blobs of negative length": 'frame(b\'{"id": 1, "blobs": [-5, 5]}\')',
    "blobs of no length": 'frame(b\'{"id": 1, "blobs": [true, {}]}\')',
    "more blobs than bytes": "frame(b'{\"id\": 1, \"blobs\": [4294967295]}', b'x')",
    "a million blobs": "frame(b'{\"id\": 1, \"blobs\": [' + b'0,' * 1_000_000 + b'0]}')",
    "lone surrogates": 'frame(b\'{"id": 1, "msg_type": "stream", "content": {"name":'
    ' "stdout", "text": "\\\\ud800"}}\')',
    "keys twice": 'frame(b\'{"id": 1, "id": 2, "done": {"status": "ok"}, "done": 5}\')',
    "an answer nobody asked for": "b''.join(frame({'id': n, **v}) for n in range(60) for v in"
    " ({'answer': {'value': 2}}, {'bound': ['double']}, {'settled': True}, {'ask': {}},"
    " {'callback': {}}, {'ready': True}))",
    "forged results": _ALL,
    "forged frames without end": f"{_ALL} * 100_000",
}

#: Code before the wrong answer.
ATTACKS: dict[str, str] = {
    **{name: f"{_SPEAK}say({data})\n" for name, data in _BYTES.items()},
    "forged results while a test runs": (
        f"{_SPEAK}\ndef go():\n    for _ in range(2000):\n        say({_ALL})\n"
        "        time.sleep(0.001)\nthreading.Thread(target=go, daemon=True).start()\n"
    ),
    "every reply twice": f"{_SPEAK}patch(lambda header: [header, header])\n",
    "errors left out": (
        f"{_SPEAK}\ndef change(header):\n"
        "    if header.get('msg_type') in ('error', 'stream'):\n        return []\n"
        "    if 'done' in header:\n        return [{**header, 'done': {'status': 'ok'}}]\n"
        "    return [header]\npatch(change)\n"
    ),
    "a result before every end": (
        f"{_SPEAK}\ndef change(header):\n    if 'done' not in header:\n        return []\n"
        "    n = header['id']\n"
        "    return [{'id': n, 'msg_type': 'execute_result', 'content': {'data':"
        " {'text/plain': '2'}, 'metadata': {}, 'execution_count': 1}},"
        " {'id': n, 'done': {'status': 'ok'}}]\npatch(change)\n"
    ),
    "no end": f"{_SPEAK}patch(lambda header: [] if 'done' in header else [header])\n",
    "takes the line over": f"{_SPEAK}{_TAKE_OVER}say(fine(0) + fine(1))\nimpersonate()\n",
    "a child takes the line over": (
        f"{_SPEAK}{_TAKE_OVER}\nif os.fork():\n    say(fine(0) + fine(1))\n    os._exit(0)\n"
        "impersonate()\n"
    ),
    "a thread takes the line over": (
        f"{_SPEAK}{_TAKE_OVER}\nthreading.Thread(target=impersonate, daemon=True).start()\n"
    ),
    "a grandchild writes after the end": (
        f"{_SPEAK}\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n"
        "    for _ in range(200):\n        time.sleep(0.05)\n"
        f"        say({_ALL})\n    os._exit(0)\n"
    ),
    "closes the line": f"{_SPEAK}\nfor line in lines():\n    os.close(line)\n",
    "shuts the line down": (
        f"{_SPEAK}\nfor line in lines():\n    try:\n"
        "        socket.socket(fileno=os.dup(line)).shutdown(socket.SHUT_RDWR)\n"
        "    except OSError:\n        pass\n"
    ),
    "the null device for a line": (
        f"{_SPEAK}\nnull = os.open('/dev/null', os.O_RDWR)\n"
        "for line in lines():\n    os.dup2(null, line)\n"
    ),
    "descriptors for the worker": (
        f"{_SPEAK}\nfor line in lines():\n    try:\n"
        "        s = socket.socket(fileno=os.dup(line))\n"
        "        for _ in range(200):\n"
        "            socket.send_fds(s, [b'\\0'], [os.open('/dev/null', 0)] * 50)\n"
        "    except OSError:\n        pass\n"
    ),
    "reads what the worker sends": (
        f"{_SPEAK}\ndef steal():\n    s = socket.socket(fileno=os.dup(lines()[0]))\n"
        "    while s.recv(1):\n        pass\n"
        "threading.Thread(target=steal, daemon=True).start()\n"
    ),
    "a write that never ends": (
        f"{_SPEAK}\ndef flood():\n    while True:\n        say(b'\\0' * 65536)\n"
        "threading.Thread(target=flood, daemon=True).start()\n"
    ),
}
