"""Matplotlib's list of fonts is built once and only for notebooks that may draw."""

from nbformat import NotebookNode

from lms.outposts.runner.fonts import FontList, needs_fonts


def notebook(source: str) -> NotebookNode:
    return NotebookNode(cells=[NotebookNode(source=source)])


def test_only_notebooks_that_may_draw_need_fonts() -> None:
    assert needs_fonts(notebook("import matplotlib.pyplot as plt"))
    assert needs_fonts(notebook("frame.plot()"))
    assert not needs_fonts(notebook("print(1)"))


def test_the_list_is_built_once() -> None:
    fonts = FontList()
    files = fonts.files()
    assert all(name.startswith("fontlist-") for name in files)
    assert fonts.files() is files
