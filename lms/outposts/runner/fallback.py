"""Which notebooks need a Jupyter kernel, with its sockets and threads, instead of plain cells."""

import re

from nbformat import NotebookNode

#: What to look for in the code -> what of a Jupyter kernel it needs.
_NEEDS = {
    r"get_ipython\s*\(\s*\)\s*\.\s*kernel\b|\bkernelapp\b|\bIPKernelApp\b": "the kernel itself",
    r"\bipykernel\b|\bjupyter_client\b|\bget_connection_(?:file|info)\b": "the kernel itself",
    r"^\s*%(?:connect_info|qtconsole|subshell)\b": "the kernel's connection",
    r"\bipyparallel\b|^\s*%%?px\b": "engines of ipyparallel",
    r"^\s*%(?:gui|matplotlib|pylab)[ \t]+(?!inline\b|agg\b|-l\b|--list\b|-a\b)\S": "an event loop",
    r"\bipympl\b|\bjupyter_ui_poll\b|\bdo_one_iteration\b": "an event loop",
    r"\bdebugpy\b": "the kernel's debugger",
}
_PATTERNS = {re.compile(pattern, re.MULTILINE): need for pattern, need in _NEEDS.items()}


def kernel_need(notebook: NotebookNode) -> str | None:
    """Return what a notebook's code needs of a Jupyter kernel, or None when plain cells will do."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for pattern, need in _PATTERNS.items():
            if pattern.search(cell.source):
                return need
    return None
