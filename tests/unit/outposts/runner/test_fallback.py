"""Which notebooks are run by a Jupyter kernel: those that look for it, and no others."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lms.outposts.runner.fallback import kernel_need

NEEDING = {
    "get_ipython().kernel.do_one_iteration()": "the kernel itself",
    "k = get_ipython( ) . kernel": "the kernel itself",
    "from ipykernel.comm import Comm": "the kernel itself",
    "import jupyter_client": "the kernel itself",
    "x = 1\n%connect_info": "the kernel's connection",
    "import ipyparallel as ipp": "engines of ipyparallel",
    "%%px\nimport os": "engines of ipyparallel",
    "%gui qt": "an event loop",
    "%matplotlib notebook": "an event loop",
    "  %matplotlib widget": "an event loop",
    "%pylab qt": "an event loop",
    "import ipympl": "an event loop",
    "import debugpy": "the kernel's debugger",
}
PLAIN = (
    "%matplotlib inline",
    "%matplotlib  agg",
    "%matplotlib",
    "%pylab inline",
    "get_ipython().run_line_magic('pwd', '')",
    "kernel = 'rbf'\nSVC(kernel=kernel)",
    "import ipywidgets",
    "input('name?')",
    "import threading",
    "guide = 5 % gui",
    "sns.kdeplot(x).kernel",
)


@pytest.mark.parametrize(("source", "need"), NEEDING.items())
def test_code_that_looks_for_its_kernel_gets_one(source: str, need: str) -> None:
    cells = [new_code_cell("x = 1"), new_code_cell(source)]
    assert kernel_need(new_notebook(cells=cells)) == need


@pytest.mark.parametrize("source", PLAIN)
def test_other_code_does_not(source: str) -> None:
    assert kernel_need(new_notebook(cells=[new_code_cell(source)])) is None


def test_prose_about_kernels_does_not() -> None:
    assert kernel_need(new_notebook(cells=[new_markdown_cell("import ipykernel")])) is None
