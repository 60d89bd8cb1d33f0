"""Reading notebook bytes: the instructor's into nbformat nodes, the student's into bare cells.

A student's notebook is hostile data. Of it we take, per cell, type, source and grade_id, and
nothing else: outputs, tags, attachments, kernelspecs and schema versions never get past here.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from lms.outposts.runner.errors import ReleaseError, RunnerError, SubmissionError
from lms.protocol.sentences import Sentence, sentence

#: The largest notebook that is read; real ones with many figures stay below 20 MB.
NOTEBOOK_BYTES = 50 << 20
#: Cells of one notebook, and bytes of source in all of them together.
CELLS = 5_000
SOURCE_BYTES = 8 << 20
#: A JSON list or object costs about 60 bytes of memory for two bytes of text: count before parsing.
_CONTAINERS = 1_000_000
_VALUES = 8_000_000
#: The first format whose cells carry ids.
_MINOR_WITH_IDS = 5
_NBFORMAT = 4
_CELL_TYPES = frozenset({"code", "markdown", "raw"})

#: The one kernel of the course environment; released notebooks name it, so Lab asks nobody.
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedCell:
    """What is taken from a student's cell; `grade_id` is a claim, checked against the release."""

    cell_type: str
    source: str
    grade_id: str | None = None
    #: It carries a tag that would change how it is run, had we taken it.
    is_tagged: bool = False


def read_submitted(content: bytes) -> tuple[SubmittedCell, ...]:
    """Return the cells of a submitted notebook; raises SubmissionError when it is not one."""
    try:
        notebook = _as_format_four(_parse(content))
    except _UnreadableError as error:
        raise SubmissionError(error.sentence) from error
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise SubmissionError(sentence("This file is not a Jupyter notebook."))
    if len(cells) > CELLS:
        raise SubmissionError(
            sentence("The notebook has more than %(count)s cells.", count=CELLS),
        )
    read = tuple(_submitted_cell(cell) for cell in cells)
    if sum(len(cell.source) for cell in read) > SOURCE_BYTES:
        raise SubmissionError(
            sentence("The notebook holds more than %(size)s MB of code.", size=SOURCE_BYTES >> 20),
        )
    return read


def read_source(name: str, content: bytes) -> tuple[NotebookNode, int]:
    """Return an instructor's notebook and its nbgrader schema version before the upgrade.

    Old nbgrader metadata is upgraded, missing or doubled cell ids are replaced by ids that depend
    on nothing but the notebook. Raises ReleaseError when the bytes are not a notebook.
    """
    from nbgrader.nbgraderformat import SCHEMA_VERSION, MetadataValidator

    try:
        raw = _as_format_four(_parse(content))
        notebook = _joined(raw)
    except _UnreadableError as error:
        raise ReleaseError(
            sentence("%(notebook)s: %(problem)s", notebook=name, problem=str(error.sentence)),
        ) from error
    _settle_ids(name, notebook)
    schemas = [
        cell.metadata["nbgrader"].get("schema_version", 0)
        for cell in notebook.cells
        if isinstance(cell.metadata.get("nbgrader"), dict) and cell.metadata["nbgrader"]
    ]
    schema = min((s for s in schemas if isinstance(s, int)), default=SCHEMA_VERSION)
    for cell in notebook.cells:
        if not isinstance(cell.metadata.get("nbgrader", {}), dict):
            del cell.metadata["nbgrader"]
    try:
        MetadataValidator().upgrade_notebook_metadata(notebook)
    except Exception as error:  # nbgrader's upgrade assumes well-formed values
        raise ReleaseError(
            sentence("%(notebook)s: the nbgrader metadata cannot be read.", notebook=name),
        ) from error
    return notebook, schema


class _UnreadableError(RunnerError):
    """Bytes that are no notebook, whoever they came from."""


def _parse(content: bytes) -> dict[str, Any]:
    if len(content) > NOTEBOOK_BYTES:
        raise _UnreadableError(
            sentence("The notebook is larger than %(size)s MB.", size=NOTEBOOK_BYTES >> 20),
        )
    if content.count(b"[") + content.count(b"{") > _CONTAINERS or content.count(b",") > _VALUES:
        raise _UnreadableError(sentence("The notebook holds far more values than a notebook has."))
    not_a_notebook = sentence("This file is not a Jupyter notebook.")
    try:
        # NaN and Infinity are written into outputs by real tools; outputs are dropped anyway.
        parsed = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _: None)
    except RecursionError as error:
        raise _UnreadableError(sentence("The notebook's JSON is nested too deeply.")) from error
    except ValueError as error:
        raise _UnreadableError(not_a_notebook) from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("nbformat"), int):
        raise _UnreadableError(not_a_notebook)
    return parsed


def _as_format_four(parsed: dict[str, Any]) -> dict[str, Any]:
    """Upgrade notebooks of formats 1 to 3, refuse formats from the future."""
    version = parsed["nbformat"]
    if version == _NBFORMAT:
        return parsed
    if not 1 <= version < _NBFORMAT:
        raise _UnreadableError(
            sentence("The notebook has format %(version)s, which is not known.", version=version),
        )
    import nbformat

    try:
        upgraded = nbformat.convert(nbformat.from_dict(parsed), _NBFORMAT)
    except Exception as error:  # the upgrader assumes well-formed cells
        raise _UnreadableError(sentence("This file is not a Jupyter notebook.")) from error
    return dict(upgraded)


def _submitted_cell(cell: object) -> SubmittedCell:
    if not isinstance(cell, dict):
        raise SubmissionError(sentence("This file is not a Jupyter notebook."))
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    cell_type = cell.get("cell_type")
    return SubmittedCell(
        cell_type=cell_type if isinstance(cell_type, str) and cell_type in _CELL_TYPES else "raw",
        source=_text(cell.get("source", "")),
        grade_id=grade_id if isinstance(grade_id, str) and grade_id else None,
        is_tagged=_has_running_tag(metadata.get("tags") if isinstance(metadata, dict) else None),
    )


def _has_running_tag(tags: object) -> bool:
    return isinstance(tags, list) and ("skip-execution" in tags or "raises-exception" in tags)


def _text(source: object) -> str:
    """Join a source; lone surrogates, which no encoder takes, become U+FFFD."""
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return ""
    return source.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _joined(raw: dict[str, Any]) -> NotebookNode:
    """Return `raw` as a node with joined sources and well-formed cells."""
    import nbformat

    cells = raw.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise _UnreadableError(sentence("This file is not a Jupyter notebook."))
    notebook: NotebookNode = nbformat.from_dict(raw)
    notebook.setdefault("metadata", nbformat.from_dict({}))
    notebook.setdefault("nbformat_minor", 0)
    for cell in notebook.cells:
        if str(cell.get("cell_type")) not in _CELL_TYPES:
            raise _UnreadableError(
                sentence("A cell has the unknown type %(type)s.", type=str(cell.get("cell_type"))),
            )
        cell.source = _text(cell.get("source", ""))
        if not isinstance(cell.get("metadata"), dict):
            cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def _settle_ids(name: str, notebook: NotebookNode) -> None:
    """Give each cell an id that is the same in every build; formats before 4.5 have none."""
    if notebook.nbformat_minor < _MINOR_WITH_IDS:
        for cell in notebook.cells:
            cell.pop("id", None)
        return
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        known = cell.get("id")
        if not _is_cell_id(known) or known in seen:
            cell.id = stable_id(name, str(index), cell.source)
        seen.add(cell.id)


def _is_cell_id(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 64  # noqa: PLR2004 (the notebook schema's bound)
        and value.isascii()
        and value.replace("-", "").replace("_", "").isalnum()
    )


def stable_id(*parts: str) -> str:
    """Return a cell id made of nothing but `parts`."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def problem_of(name: str, error: Exception) -> Sentence:
    """Say in one line what nbgrader found wrong with a notebook."""
    lines = str(error).strip().splitlines()
    problem = lines[0] if lines else type(error).__name__
    return sentence("%(notebook)s: %(problem)s", notebook=name, problem=problem)
