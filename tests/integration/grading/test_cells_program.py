"""The trusted end of the cells program: limits, floods, lies, and what the instructor is told."""

import json
from collections.abc import Iterator
from time import monotonic

import pytest

from lms.outposts.broker.launcher import KernelProcess, KernelRequest, Usage, Verdict
from lms.outposts.runner.errors import KernelStartError, RunStoppedError
from lms.outposts.runner.program import CellProgram, UnfitError
from lms.protocol.grading import Limits, RunStatus
from tests.fakes.forking import ForkingLauncher
from tests.fakes.launcher import PlainLauncher

pytestmark = pytest.mark.kernel

LIMITS = Limits(cell_seconds=1, wall_seconds=30, output_bytes=1 << 20)
#: Finds the program's line, as hostile code would.
LINE = (
    "import gc, os, struct, json\n"
    "from lms.outposts.kernels.streams import ProgramLine\n"
    "LINE = next(o for o in gc.get_objects() if isinstance(o, ProgramLine))\n"
    "def raw(data): os.write(LINE.fileno(), data)\n"
    "def frame(header, rest=b''):\n"
    "    head = json.dumps(header).encode()\n"
    "    raw(struct.pack('>II', len(head), len(rest)) + head + rest)\n"
)


@pytest.fixture(scope="module")
def forking() -> Iterator[ForkingLauncher]:
    with ForkingLauncher() as it:
        yield it


@pytest.fixture
def program(forking: ForkingLauncher) -> Iterator[CellProgram]:
    with CellProgram(forking, {"data.txt": b"21\n"}, LIMITS, 0, {}) as it:
        yield it


def test_cells_share_names_and_files(program: CellProgram) -> None:
    assert program.execute("VALUE = int(open('data.txt').read())", 5).outputs == []
    executed = program.execute("VALUE * 2", 5)
    assert [output["data"]["text/plain"] for output in executed.outputs] == ["42"]
    assert (executed.status, executed.execution_count, executed.ending) == ("ok", 2, None)


def test_an_endless_cell_is_interrupted_and_the_next_one_runs(program: CellProgram) -> None:
    slow = program.execute("print('epoch 7')\nwhile True: pass", 1, "q1")
    assert [output.get("ename") for output in slow.outputs] == [
        None,
        "KeyboardInterrupt",
        "CellTimeoutError",
    ]
    assert slow.ending is not None
    assert slow.ending.status is RunStatus.TIMED_OUT
    assert slow.ending.detail.cell == "q1"
    assert slow.ending.detail.limit == "cell_seconds"
    assert slow.ending.detail.last_output == "epoch 7\n"
    assert program.execute("1", 5).status == "ok"


def test_a_cell_that_takes_no_interrupt_ends_the_run(program: CellProgram) -> None:
    begun = monotonic()
    source = (
        "import time\nwhile True:\n    try:\n        time.sleep(9)\n"
        "    except KeyboardInterrupt: pass"
    )
    with pytest.raises(RunStoppedError, match="longer than 1 seconds") as stopped:
        program.execute(source, 1, "q2")
    assert stopped.value.status is RunStatus.TIMED_OUT
    assert monotonic() - begun < 20
    assert not program.is_alive()


def test_all_cells_together_have_a_limit(forking: ForkingLauncher) -> None:
    limits = Limits(cell_seconds=30, wall_seconds=1)
    with CellProgram(forking, {}, limits, 0, {}) as program:
        with pytest.raises(RunStoppedError, match="1 seconds in all") as stopped:
            program.execute("import time\ntime.sleep(20)", 30)
        assert stopped.value.detail is not None
        assert stopped.value.detail.limit == "wall_seconds"


def test_what_was_shown_before_the_end_is_kept(program: CellProgram) -> None:
    outputs: list[object] = []
    source = "import os\nprint('last words', flush=True)\nos._exit(1)"
    with pytest.raises(RunStoppedError, match="kernel died") as stopped:
        program.execute(source, 5, "q3", outputs)  # type: ignore[arg-type]
    assert stopped.value.status is RunStatus.CRASHED
    assert stopped.value.detail is not None
    assert (stopped.value.detail.cell, stopped.value.detail.last_output) == ("q3", "last words\n")
    assert [dict(output)["text"] for output in outputs] == ["last words\n"]  # type: ignore[call-overload]


def test_a_loud_cell_is_interrupted_and_its_output_cut(program: CellProgram) -> None:
    loud = program.execute("while True: print('x' * 1000)", 20, "q4")
    assert loud.ending is not None
    assert loud.ending.status is RunStatus.CRASHED
    assert loud.ending.detail.limit == "output_bytes"
    assert len(json.dumps(loud.outputs)) < 2 * LIMITS.output_bytes
    assert program.execute("1", 5).status == "ok"


def test_a_loud_program_of_a_cell_is_interrupted_too(program: CellProgram) -> None:
    loud = program.execute("import os\nos.system('seq 1 3000000')", 20, "q5")
    assert loud.ending is not None
    assert loud.ending.detail.limit == "output_bytes"
    assert program.execute("1", 5).status == "ok"


def test_a_flood_that_no_interrupt_stops_ends_the_run(program: CellProgram) -> None:
    source = (
        "import signal\n"
        "class Deaf:\n    def __enter__(s): signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    def __exit__(s, *a): pass\n"
        "with Deaf():\n    while True: print('x' * 10000)"
    )
    with pytest.raises(RunStoppedError, match="far more than 1 MB"):
        program.execute(source, 20)
    assert not program.is_alive()


LIES = {
    "no frame": "raw(b'\\xff' * 100)",
    "no JSON": "raw(struct.pack('>II', 3, 0) + b'{x}')",
    "no object": "raw(struct.pack('>II', 2, 0) + b'[]')",
    "a frame from the future": "frame({'id': 99, 'msg_type': 'stream', 'content': {}})",
    "a frame without a kind": "frame({'id': 2})",
    "a kind that is no text": "frame({'id': 2, 'msg_type': ['stream'], 'content': {}})",
    "a reply of no kind": "frame({'id': 2, 'done': {'status': 'great'}})",
    "a reply that is no object": "frame({'id': 2, 'done': 1})",
    "a late reply": "frame({'id': 1, 'done': {'status': 'ok'}})",
    "texts without a blob": "frame({'id': 2, 'msg_type': 'stream', 'content': {}, "
    "'texts': [['t']]})",
    "a text in a text": "frame({'id': 2, 'msg_type': 'stream', 'content': {'a': 'b'}, "
    "'texts': [['a', 'b']], 'blobs': [1]}, b'x')",
    "a question nobody asked for": "frame({'id': 2, 'ask': {}})",
    "no content": "frame({'id': 2, 'msg_type': 'execute_input', 'content': None})",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_what_cannot_be_read_ends_the_run(program: CellProgram, lie: str) -> None:
    program.execute(LINE, 5)
    with pytest.raises(RunStoppedError, match="cannot be read") as stopped:
        program.execute(f"{lie}\nimport time\ntime.sleep(10)", 5)
    assert stopped.value.status is RunStatus.CRASHED
    assert not program.is_alive()


SHAPES = {
    "a strange kind": "frame({'id': 2, 'msg_type': 'comm_open', 'content': {}})",
    "a stream that is none": "frame({'id': 2, 'msg_type': 'stream', 'content': {'text': [1]}})",
    "an error that is none": "frame({'id': 2, 'msg_type': 'error', 'content': {}})",
    "a display that is none": "frame({'id': 2, 'msg_type': 'display_data', 'content': {'data': 3, "
    "'transient': {'display_id': [1]}}})",
    "a count that is none": "frame({'id': 2, 'msg_type': 'execute_result', "
    "'content': {'execution_count': -1}})",
    "half a letter": "frame({'id': 2, 'msg_type': 'stream', 'content': {'text': '\\ud800'}})",
    "a late output": "frame({'id': 1, 'msg_type': 'stream', 'content': {'text': 'late'}})",
    "a display of nothing": "frame({'id': 2, 'msg_type': 'update_display_data', "
    "'content': {'data': {}, 'transient': {'display_id': 'x'}}})",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_strange_contents_are_put_into_shape(program: CellProgram, shape: str) -> None:
    import nbformat

    program.execute(LINE, 5)
    executed = program.execute(shape, 5)
    assert executed.status == "ok"
    cell = nbformat.v4.new_code_cell(outputs=executed.outputs)
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    assert "late" not in str(executed.outputs)


def test_a_deaf_program_is_not_waited_for(
    program: CellProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lms.outposts.runner.program._SEND_SECONDS", 0.5)
    program.execute(LINE, 5)
    program.execute("frame({'id': 2, 'done': {'status': 'ok'}})\nimport time\ntime.sleep(60)", 5)
    with pytest.raises(RunStoppedError):
        program.execute("x" * (4 << 20), 1)
    assert not program.is_alive()


def test_a_closed_line_ends_the_run(program: CellProgram) -> None:
    program.execute(LINE, 5)
    with pytest.raises(RunStoppedError):
        program.execute("import os\nos.closerange(3, 1000)", 5)
    assert not program.is_alive()


def test_an_alarm_in_the_middle_of_printing_breaks_nothing(program: CellProgram) -> None:
    source = (
        "import signal\n"
        "def rung(*_): raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, rung)\n"
        "caught = 0\n"
        "for _ in range(40):\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.003)\n"
        "    try:\n"
        "        while True: print('x', flush=True)\n"
        "    except TimeoutError: caught += 1\n"
        "caught"
    )
    executed = program.execute(source, 20)
    assert executed.ending is None, executed.ending
    assert executed.outputs[-1]["data"]["text/plain"] == "40"


class StrangeLauncher(PlainLauncher):
    """Starts something that says `said` and no more."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def launch(self, request: KernelRequest, channel: object = None) -> KernelProcess:
        from dataclasses import replace

        channel.send(self._said)  # type: ignore[attr-defined]
        channel.close()  # type: ignore[attr-defined]
        return super().launch(replace(request, program="", argv=("/bin/true",)))


def test_a_program_that_does_not_come_up_is_our_fault() -> None:
    with pytest.raises(KernelStartError, match="before it was ready"):
        CellProgram(StrangeLauncher(b""), {}, LIMITS, 0, {}).__enter__()


def test_a_program_may_say_before_anything_ran_that_it_will_not_do() -> None:
    from lms.outposts.kernels.frames import pack

    said = pack({"ready": False, "why": "an odd kernel"})
    with pytest.raises(UnfitError, match="an odd kernel"):
        CellProgram(StrangeLauncher(said), {}, LIMITS, 0, {}).__enter__()


class AbandonedLauncher(ForkingLauncher):
    """Loses every program that ends."""

    def launch(self, request: KernelRequest, channel: object = None) -> KernelProcess:
        process = super().launch(request, channel)  # type: ignore[arg-type]
        process.usage = lambda: Usage(verdict=Verdict.ABANDONED)  # type: ignore[method-assign]
        return process


def test_a_sandbox_that_was_taken_away_is_our_fault() -> None:
    with (
        AbandonedLauncher() as launcher,
        CellProgram(launcher, {}, LIMITS, 0, {}) as program,
        pytest.raises(KernelStartError, match="taken away"),
    ):
        program.execute("import os\nos._exit(0)", 5)
