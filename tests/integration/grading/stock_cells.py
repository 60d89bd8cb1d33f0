"""Runs notebooks on stock ipykernel through nbgrader's own Execute; a program of its own."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

Outputs = list[list[dict[str, Any]]]


def main(file: str, seconds: str) -> None:
    """Read notebooks (lists of sources) from `file` and write there what stock makes of them."""
    from nbformat.v4 import new_code_cell, new_notebook
    from nbgrader.preprocessors import Execute

    results = {}
    for name, sources in json.loads(Path(file).read_text()).items():
        notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
        with tempfile.TemporaryDirectory() as folder:
            executing = Execute(timeout=int(seconds))
            try:
                executing.preprocess(notebook, {"metadata": {"path": folder}})
            except Exception as error:  # noqa: BLE001 (nbgrader breaks off; the cells before count)
                sys.stderr.write(f"{name}: {error!r:.200}\n")
        results[name] = [
            [*map(dict, cell.outputs), {"count": cell.execution_count}] for cell in notebook.cells
        ]
    # Not printed: kernels inherit our streams, and some of the cells write to them.
    Path(file).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
