"""Does a receipt hold: are these the files it names, and does grading again give its result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lms.exchange.rules import submission_digest
from lms.foundation.errors import InvalidError
from lms.grading.changes import source_digest, tests_digest
from lms.grading.receipts import FORMAT
from lms.outposts.runner.version import ENGINE_VERSION, environment_digest
from lms.protocol.grading import CellResult, Limits, NotebookResult
from lms.protocol.sentences import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a receipt's record claims, as far as it can be checked."""

    record: Mapping[str, Any]
    limits: Limits
    seed: int

    @property
    def requirements(self) -> str:
        """The digest of the requirements of its environment; empty: the default one."""
        return self.digests.get("requirements", "")

    @property
    def digests(self) -> Mapping[str, str]:
        """The digests of release, source, tests, submission and environment."""
        digests: Mapping[str, str] = self.record["digests"]
        return digests


def read_claims(record: Mapping[str, Any]) -> Claimed:
    """Return what a signed record claims; raises InvalidError for one that names no recipe."""
    if record.get("format") != FORMAT:
        raise InvalidError(
            sentence(
                "The receipt has the form %(form)s, which is not known here.",
                form=str(record.get("format"))[:60],
            )
        )
    digests = record.get("digests")
    if not isinstance(digests, dict) or not digests.get("source") or not record.get("limits"):
        raise InvalidError(
            sentence(
                "The receipt is of a run that could not be graded: there is nothing to run again."
            )
        )
    return Claimed(record=record, limits=Limits(**record["limits"]), seed=int(record["seed"]))


def check_source(claimed: Claimed, files: Mapping[str, bytes]) -> Iterator[Sentence]:
    """Yield what is wrong with an instructor's files that are said to be the graded ones."""
    if source_digest(files) == claimed.digests["source"]:
        return
    yield sentence("The source given is not the one that the receipt names.")
    if tests_digest(files) != claimed.digests["tests"]:
        yield sentence("Its tests or points differ from those that the receipt names.")


def check_submission(claimed: Claimed, files: Mapping[str, bytes]) -> Iterator[Sentence]:
    """Yield what is wrong with files that are said to be what was handed in."""
    if submission_digest(files) != claimed.digests["submission"]:
        yield sentence(
            "The submission given is not the one that the receipt names: "
            "the same files under the same names are needed."
        )


def notes(claimed: Claimed) -> Iterator[Sentence]:
    """Yield what differs here and may explain another result; none of it is a fault by itself."""
    if claimed.record["engine"] != ENGINE_VERSION:
        yield sentence(
            "It was graded by version %(said)s of the engine; this is version %(here)s.",
            said=str(claimed.record["engine"]),
            here=ENGINE_VERSION,
        )
    if claimed.digests["environment"] != environment_digest(claimed.requirements):
        yield sentence("It was graded in another environment: Python or a package differs here.")
    if not claimed.record["sandboxed"]:
        yield sentence("It was graded without a sandbox.")


def compare(claimed: Claimed, found: Sequence[NotebookResult]) -> Iterator[Sentence]:
    """Yield every cell and notebook for which grading again gave something else."""
    results = {result.notebook: result for result in found}
    for said in claimed.record["notebooks"]:
        name = str(said["notebook"])
        result = results.pop(name, None)
        if result is None:
            yield sentence("%(notebook)s was not graded again: it is not there.", notebook=name)
            continue
        yield from _compare_notebook(said, result)
    for name in results:
        yield sentence("%(notebook)s is not on the receipt.", notebook=name)


def _compare_notebook(said: Mapping[str, Any], result: NotebookResult) -> Iterator[Sentence]:
    if said["status"] != result.status.value:
        yield _differs(result.notebook, said["status"], result.status.value)
    cells = {cell.grade_id: cell for cell in result.cells}
    for claim in said["cells"]:
        found = cells.pop(str(claim["grade_id"]), None)
        place = f"{result.notebook}:{claim['grade_id']}"
        if found is None:
            yield _differs(place, _points(claim["auto_score"]), "-")
            continue
        yield from _compare_cell(place, claim, found)
    for grade_id, cell in cells.items():
        yield _differs(f"{result.notebook}:{grade_id}", "-", _points(cell.auto_score))


def _compare_cell(place: str, claim: Mapping[str, Any], cell: CellResult) -> Iterator[Sentence]:
    if (claim["auto_score"], claim["max_score"]) != (cell.auto_score, cell.max_score):
        said = f"{_points(claim['auto_score'])} / {claim['max_score']:g}"
        yield _differs(place, said, f"{_points(cell.auto_score)} / {cell.max_score:g}")
    integrity = None if cell.integrity is None else cell.integrity.value
    if claim["integrity"] != integrity:
        yield _differs(place, str(claim["integrity"]), str(integrity))


def _points(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"


def _differs(place: str, said: str, found: str) -> Sentence:
    return sentence(
        "%(place)s: the receipt says %(said)s, grading again gives %(found)s.",
        place=place,
        said=said,
        found=found,
    )
