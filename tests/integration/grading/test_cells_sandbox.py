"""Cells in the real sandbox: what a stock kernel gives outside of one is given here too."""

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.program import CellProgram
from lms.protocol.grading import Limits

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


def test_shell_escapes_and_wide_frames_are_as_outside(launcher: DirectLauncher) -> None:
    with CellProgram(launcher, {"data.txt": b"21\n"}, Limits(), 0, {}) as program:
        shouted = program.execute("!echo shouted; cat data.txt", 30)
        assert [dict(output)["text"] for output in shouted.outputs] == ["shouted\r\n21\r\n"]
        width = program.execute("import pandas\npandas.get_option('display.max_columns')", 30)
        assert [output["data"]["text/plain"] for output in width.outputs] == ["20"]
        figure = program.execute("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", 60)
        assert [sorted(output["data"]) for output in figure.outputs] == [
            ["image/png", "text/plain"]
        ]
