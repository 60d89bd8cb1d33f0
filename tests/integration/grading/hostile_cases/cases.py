"""Every hostile submission as one value, and the judgement of what became of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser

from lms.outposts.runner.grade import NotebookOutcome
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Integrity, RunStatus
from tests.factories.notebooks import answered, plain
from tests.integration.grading import hostile
from tests.integration.grading.hostile_cases import (
    channel,
    escapes,
    floods,
    forging,
    formats,
    leaks,
    scripts,
)
from tests.integration.grading.hostile_cases.forging import HONEST, RELEASED, SCALE, SCALE_WRONG


@dataclass(frozen=True, kw_only=True)
class Case:
    """A hostile submission."""

    group: str
    submission: Mapping[str, bytes]
    source: AssignmentSource = hostile.SOURCE
    #: What feedback must not hold (empty: the mark, however it is pressed); None: anything.
    needle: str | None = None
    #: It prints FOUND if it sees what it must not see.
    is_spy: bool = False
    #: Its feedback must be inert.
    is_script: bool = False


def _scaled(answer: str) -> dict[str, bytes]:
    return {"scale.ipynb": answered(RELEASED, {"answer": answer})}


def _with_cell(answer: str, cell: str) -> dict[str, bytes]:
    return hostile.changed(lambda value: value["cells"].append({**plain(cell), "id": "z"}), answer)


def _forged() -> Iterator[tuple[str, Case]]:
    for name, answer in forging.DOUBLE.items():
        yield name, Case(group="forging", submission=hostile.code(answer))
    for name, attack in forging.ARRAYS.items():
        yield name, Case(group="forging", source=SCALE, submission=_scaled(attack + SCALE_WRONG))
    for name, answer in forging.LIARS.items():
        yield name, Case(group="forging", source=SCALE, submission=_scaled(answer))


def _attacked() -> Iterator[tuple[str, Case]]:
    for name, attack in channel.ATTACKS.items():
        yield name, Case(group="channel", submission=hostile.code(attack + hostile.WRONG))
    for name, attack in floods.FLOODS.items():
        yield name, Case(group="floods", submission=hostile.code(attack + hostile.WRONG))
    for name, spy in escapes.SPIES.items():
        yield name, Case(group="escapes", submission=hostile.code(spy + hostile.WRONG), is_spy=True)


def _odd() -> Iterator[tuple[str, Case]]:
    for name, change in formats.CHANGED.items():
        yield name, Case(group="formats", submission=hostile.changed(change))
    wrong = hostile.code(hostile.WRONG)[formats.NAME]
    for name, files in formats.files_of(wrong).items():
        yield name, Case(group="formats", submission=files)


def _shown() -> Iterator[tuple[str, Case]]:
    for name, (answer, cell) in leaks.PLAIN.items():
        yield name, Case(group="leaks", submission=_with_cell(answer, cell), needle=leaks.MARK)
    for name, (answer, cell, needle) in leaks.CODED.items():
        submission = _with_cell(answer, cell)
        yield name, Case(group="leaks", submission=submission, needle=needle)
    for name, payload in scripts.PAYLOADS.items():
        cell = scripts.HEAD + payload
        yield (
            name,
            Case(group="scripts", submission=_with_cell(hostile.WRONG, cell), is_script=True),
        )


CASES: dict[str, Case] = {
    f"{case.group}: {name}": case
    for make in (_forged, _attacked, _odd, _shown)
    for name, case in make()
}
#: Run every time; the others are slow only because they are many.
SAMPLED = set(list(CASES)[:: len(CASES) // 24])


class Inert(HTMLParser):
    """Collects whatever in a page could run, load or send."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "form", "link", "base", "video", "input"}:
            self.found.append(tag)
        for name, value in attrs:
            address = (value or "").lower()
            if name.startswith("on") or "javascript:" in "".join(address.split()):
                self.found.append(f"{tag} {name}={address}")
            if name in {"src", "srcset", "data", "poster"} and not address.startswith("data:image"):
                self.found.append(f"{tag} {name}={address}")


def faults(case: Case, outcome: NotebookOutcome) -> list[str]:
    """Return what went wrong with the grader; nothing for an attack that failed."""
    found = [*_forged_scores(case, outcome)]
    result = outcome.result
    if result.status is not RunStatus.GRADED and not str(result.reason or ""):
        found.append(f"nothing tells the student why it is {result.status}")
    page = (outcome.feedback_html or b"").decode()
    if not page:
        found.append("no feedback page")
    if case.is_spy and b"FOUND" in _printed(outcome):
        found.append(f"it found {_printed(outcome)[:300]!r}")
    if case.needle is not None and _leaks(page, case.needle):
        found.append("the hidden test can be read in the feedback")
    if case.is_script or case.group == "forging":
        inert = Inert()
        inert.feed(page)
        found += [f"the feedback is not inert: {thing}" for thing in inert.found]
    return found


def _forged_scores(case: Case, outcome: NotebookOutcome) -> Iterator[str]:
    """Yield the scores that would be released although they are not the honest ones."""
    if case.group == "leaks" or outcome.result.integrity is not Integrity.VERIFIED:
        return  # those who only want to read the tests may answer rightly
    for cell in outcome.result.cells:
        if (cell.auto_score or 0) > HONEST[cell.grade_id]:
            yield f"{cell.grade_id} is released with {cell.auto_score}"


def _printed(outcome: NotebookOutcome) -> bytes:
    if outcome.autograded is None:
        return b""
    cells = hostile.notebook_in(outcome.autograded)["cells"]
    texts = [
        str(output.get("text", output.get("traceback", "")))
        for cell in cells
        for output in cell.get("outputs", ())
    ]
    return "\n".join(texts).encode()


def _leaks(page: str, needle: str) -> bool:
    return leaks.finds(page, needle)
