"""The cells program against stock ipykernel, through nbclient and nbgrader, output by output."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.place import environment
from lms.outposts.runner.program import CellProgram
from lms.protocol.grading import Limits
from tests.fakes.forking import ForkingLauncher
from tests.integration.grading import cells_table, stock_cells

pytestmark = pytest.mark.kernel

#: What differs between any two runs, of stock too.
_VARIES = {
    r"ipykernel_\d+": "ipykernel_N",  # the process's number
    r"0x[0-9a-f]{6,}": "0xN",
    r"-f \S+\.json": "-f FILE",
    r"Thread-\d+": "Thread-N",  # stock has threads of its own
    r"\d+(\.\d+)? (ns|μs|us|ms) ± \d+(\.\d+)? (ns|μs|us|ms)": "TIME",
    r"<dc:date>[^<]*<": "<dc:date><",
    r'(id=|#|clip-path=.url\(#)\\?"?[pm][0-9a-f]{8,}': "ID",  # matplotlib's SVG
}


@pytest.fixture(scope="session")
def forking() -> Iterator[ForkingLauncher]:
    with ForkingLauncher("numpy", "pandas", "matplotlib.pyplot", "sklearn.linear_model") as it:
        yield it


def _stock(folder: Path, *names: str) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {}
    env = environment(0, folder / "fonts") | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / ".ipython"),
        "PYTHONHASHSEED": "0",
    }
    for name in names:
        file = folder / f"{name}.json"
        file.write_text(json.dumps({name: cells_table.NOTEBOOKS[name]}))
        subprocess.run(
            [sys.executable, stock_cells.__file__, file, str(_seconds(name))],
            env=env,
            check=True,
            capture_output=True,
        )
        results |= json.loads(file.read_text())
    return results


def _seconds(name: str) -> int:
    return cells_table.SHORT_SECONDS.get(name, cells_table.CELL_SECONDS)


def _ours(launcher: ForkingLauncher, name: str) -> list[Any]:
    seconds = _seconds(name)
    with CellProgram(launcher, {}, Limits(cell_seconds=seconds), 0, {}) as program:
        sources = cells_table.NOTEBOOKS[name]
        executed = [program.execute(source, seconds) for source in sources]
    return [[*cell.outputs, {"count": cell.execution_count}] for cell in executed]


def _plain(outputs: list[dict[str, Any]]) -> list[str]:
    """Return outputs as text without what varies; streams that were cut in time are joined."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        shown = {name: value for name, value in output.items() if name != "traceback"}
        last = joined[-1] if joined else {}
        if "text" in shown and last.get("name") == shown["name"]:
            last["text"] += shown["text"]
        else:
            joined.append(shown)
    texts = [json.dumps(output, sort_keys=True, ensure_ascii=False) for output in joined]
    for pattern, name in _VARIES.items():
        texts = [re.sub(pattern, name, text) for text in texts]
    return texts


def _assert_same(launcher: ForkingLauncher, folder: Path, *names: str) -> None:
    stock = _stock(folder, *names)
    for name in names:
        ours = _ours(launcher, name)
        for source, mine, theirs in zip(
            cells_table.NOTEBOOKS[name], ours, stock[name], strict=True
        ):
            assert _plain(mine) == _plain(theirs), f"{name}: {source}"


def test_a_sample_of_cells_gives_the_same_outputs(tmp_path: Path, forking: ForkingLauncher) -> None:
    _assert_same(forking, tmp_path, "sample")


@pytest.mark.slow
@pytest.mark.parametrize("name", cells_table.NOTEBOOKS)
def test_every_cell_gives_the_same_outputs(
    name: str, tmp_path: Path, forking: ForkingLauncher
) -> None:
    _assert_same(forking, tmp_path, name)


def test_an_error_whose_text_fails_ends_stock_but_not_us(forking: ForkingLauncher) -> None:
    source = "class E(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise E"
    with CellProgram(forking, {}, Limits(), 0, {}) as program:
        assert program.execute(source, 10).status == "error"
        assert program.execute("1", 10).status == "ok"


def test_an_awaiting_cell_takes_no_interrupt_as_in_stock(forking: ForkingLauncher) -> None:
    with CellProgram(forking, {}, Limits(), 0, {}) as program:
        with pytest.raises(RunStoppedError, match="longer than 1 seconds"):
            program.execute("import asyncio\nawait asyncio.sleep(60)", 1, "c")
        assert not program.is_alive()


def test_exit_ends_the_kernel_a_few_cells_later(forking: ForkingLauncher) -> None:
    with CellProgram(forking, {}, Limits(), 0, {}) as program:
        program.execute("exit()", 10)
        assert program.execute("1", 10).status == "ok"
        with pytest.raises(RunStoppedError, match="died"):  # noqa: PT012 (one of the next)
            for _ in range(20):
                program.execute("1", 10)


def test_what_the_sandboxes_share_is_renewed(forking: ForkingLauncher) -> None:
    source = (
        "import os, tempfile\nprint(os.getpid(), os.getcwd(), tempfile.gettempdir())\nIn, dir()"
    )
    seen = []
    for _ in range(2):
        with CellProgram(forking, {}, Limits(), 0, {}) as program:
            seen.append(program.execute(source, 10).outputs)
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]
    assert str(Path.cwd()) not in str(seen)
