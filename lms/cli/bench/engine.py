"""Our side of `lms bench grade`: a process that grades as a worker does, and is metered.

It takes one JSON job a line and answers with one. It lives through the whole benchmark, as a
worker does, with its zygote; nothing here keeps results.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from lms.cli.bench.meter import settle, tree_seconds
from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission, prepared
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.protocol.grading import Limits

#: No sandbox, no benchmark: what runs without one is another engine.
_LAUNCHER = DirectLauncher(unsafe=False)


def main() -> int:
    """Answer jobs until stdin ends."""
    sources: dict[str, AssignmentSource] = {}
    for line in sys.stdin:
        job = json.loads(line)
        folder = job["source"]
        if folder not in sources:
            sources[folder] = load_source(Path(folder))
            prepared(sources[folder])
        settle()
        answer = _graded(sources[folder], job)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


def _graded(source: AssignmentSource, job: dict[str, Any]) -> dict[str, Any]:
    before, began = tree_seconds(), time.monotonic()
    graded = {
        student: grade_submission(
            source,
            {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()},
            limits=Limits(cell_seconds=job["cell_seconds"]),
            launcher=_LAUNCHER,
            verify=job["verify"],
        )
        for student, folder in job["submissions"].items()
    }
    wall, looking = time.monotonic() - began, time.process_time()
    settle()
    after = tree_seconds()
    return {
        # Looking for what still ends is the benchmark's own work.
        "cpu_seconds": after - before - (time.process_time() - looking),
        "wall_seconds": wall,
        "graded": {student: _facts(outcomes, job) for student, outcomes in graded.items()},
    }


def _facts(outcomes: tuple[NotebookOutcome, ...], job: dict[str, Any]) -> dict[str, Any]:
    notebooks = [json.loads(outcome.autograded or b"{}") for outcome in outcomes]
    cells = [cell for notebook in notebooks for cell in notebook.get("cells", ())]
    return {
        "scores": {
            f"{outcome.result.notebook}/{cell.grade_id}": [
                cell.auto_score,
                cell.max_score,
                cell.needs_manual,
                cell.comment,
            ]
            for outcome in outcomes
            for cell in outcome.result.cells
        },
        "integrity": [outcome.result.integrity.value for outcome in outcomes],
        "has_errors": any(map(_has_error, cells)),
        "printed": [_printed(cell) for cell in cells] if job.get("printed") else [],
        "sources": [_sources(notebook) for notebook in notebooks] if job.get("sources") else [],
    }


def _has_error(cell: dict[str, Any]) -> bool:
    return any(output["output_type"] == "error" for output in cell.get("outputs", ()))


def _printed(cell: dict[str, Any]) -> str:
    return "".join(
        output["text"] for output in cell.get("outputs", ()) if output["output_type"] == "stream"
    )


def _sources(notebook: dict[str, Any]) -> list[str]:
    return [
        cell["source"]
        for cell in notebook.get("cells", ())
        if cell["cell_type"] == "code" and cell["source"].strip()
    ]


if __name__ == "__main__":
    sys.exit(main())
