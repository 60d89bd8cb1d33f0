"""Which cells the two sides of a split run execute, and where each test's names come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from nbformat import NotebookNode

from lms.outposts.runner.integrity.analysis import CellFacts, facts_of

#: An instructor's marks on a test cell.
CALL_STYLE = "call-style"
IN_PROCESS = "in-process"


class Role(StrEnum):
    """What a cell of the tests' side is."""

    TEST = "test"
    #: A locked cell of the release, or one that students may edit and tests need.
    GIVEN = "given"
    #: The reference solution's imports: tests may use what they bring.
    IMPORTS = "imports"


class Owner(StrEnum):
    """On which side a name has its value."""

    STUDENT = "student"
    TESTS = "tests"
    #: The tests' side should have it and could not run the cell that makes it.
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One cell that the tests' side runs, after the student's side ran `before` of its cells."""

    role: Role
    source: str
    facts: CellFacts
    before: int
    grade_id: str = ""
    tags: frozenset[str] = frozenset()
    #: Names that the solution cells since the step before bind in the reference solution.
    answered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A split run of one notebook."""

    #: The student's side: the sources of its code cells in order.
    student: tuple[str, ...]
    steps: tuple[Step, ...]
    #: Classes of the reference solution's solution cells, with their operators.
    classes: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def tests(self) -> Iterator[Step]:
        """The test cells, in order."""
        return (step for step in self.steps if step.role is Role.TEST)

    def can_ask_late(self, done: int) -> bool:
        """Say whether a test may be asked after the first `done` of the student's cells have run.

        It may where no cell after the test binds anew what the cells before it use for an answer.
        """
        facts = [facts_of(source) for source in self.student[:done]]
        answered: set[str] = set()
        for step in self.steps:
            answered |= step.answered
            before, after = facts[: step.before], facts[step.before :]
            needed = _needed(step.facts.used & answered, before)
            if step.role is Role.TEST and any((one.bound - one.imported) & needed for one in after):
                return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebooks:
    """The versions of a notebook that a plan is made from."""

    #: With the reference solution.
    source: NotebookNode
    #: As students get it.
    released: NotebookNode
    #: With the student's answers, and without hidden tests.
    merged: NotebookNode
    #: What was run in one process: its test cells have their hidden tests.
    executed: NotebookNode


def _needed(names: frozenset[str], cells: Sequence[CellFacts]) -> set[str]:
    """Return names with whatever the cells that bind them use, and so on."""
    needed: set[str] = set()
    found = set(names)
    while found - needed:
        new = found - needed
        needed |= new
        for facts in cells:
            if facts.bound & new:
                found |= facts.used
    return needed


def grade_id_of(cell: NotebookNode) -> str:
    """Return a cell's grade_id, or nothing."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def is_test(cell: NotebookNode) -> bool:
    """Say whether a cell scores others: code, graded, and no answer itself."""
    from nbgrader import utils

    return bool(cell.cell_type == "code" and utils.is_grade(cell) and not utils.is_solution(cell))


def make_plan(notebooks: Notebooks) -> Plan:
    """Plan the split run of one submission's notebook."""
    from nbgrader import utils

    student, places = _student_side(notebooks.merged)
    tests = {grade_id_of(cell): cell.source for cell in notebooks.executed.cells if is_test(cell)}
    reference = {
        grade_id_of(cell): facts_of(cell.source)
        for cell in notebooks.source.cells
        if cell.cell_type == "code" and utils.is_solution(cell)
    }
    making = _Making(student=tuple(student), classes={})
    before = _befores(notebooks.released, places, len(student))
    for cell, place in zip(notebooks.released.cells, before, strict=True):
        if cell.cell_type != "code":
            continue
        grade_id = grade_id_of(cell)
        if utils.is_solution(cell):
            making.solution(reference.get(grade_id, CellFacts()), place)
        else:
            making.step(cell, tests.get(grade_id, cell.source), place)
    return making.plan()


def _student_side(merged: NotebookNode) -> tuple[list[str], dict[str, int]]:
    """Return what the student's side runs, and how many cells of it stand before each known one."""
    sources: list[str] = []
    places: dict[str, int] = {}
    for cell in merged.cells:
        if grade_id_of(cell):
            places[grade_id_of(cell)] = len(sources)
        if cell.cell_type == "code" and cell.source.strip() and not is_test(cell):
            sources.append(cell.source)
    return sources, places


def _befores(released: NotebookNode, places: Mapping[str, int], end: int) -> list[int]:
    """Return for each released cell how many of the student's cells stand before it.

    A cell without an id stands where the next one with an id stands.
    """
    cells_before: list[int] = []
    for cell in reversed(released.cells):
        end = places.get(grade_id_of(cell), end)
        cells_before.append(end)
    return cells_before[::-1]


@dataclass(slots=True, kw_only=True)
class _Making:
    """A plan under way."""

    student: tuple[str, ...]
    classes: dict[str, list[str]]
    steps: list[Step] = field(default_factory=list)
    _since: set[str] = field(default_factory=set)

    def solution(self, facts: CellFacts, before: int) -> None:
        """Note what a solution cell binds; what it imports, tests may use."""
        self.classes |= facts.classes
        self._since |= facts.bound - facts.imported
        if facts.imports:
            source = "\n".join(facts.imports)
            self._add(Role.IMPORTS, source, facts_of(source), before)

    def step(self, cell: NotebookNode, source: str, before: int) -> None:
        """Note a test, or a cell that tests may need."""
        role = Role.TEST if is_test(cell) else Role.GIVEN
        tags = frozenset(map(str, cell.metadata.get("tags", ())))
        self._add(role, source, facts_of(source), before, grade_id_of(cell), tags)

    def _add(
        self,
        role: Role,
        source: str,
        facts: CellFacts,
        before: int,
        grade_id: str = "",
        tags: frozenset[str] = frozenset(),
    ) -> None:
        answered, self._since = frozenset(self._since), set()
        self.steps.append(
            Step(
                role=role,
                source=source,
                facts=facts,
                before=before,
                grade_id=grade_id,
                tags=tags,
                answered=answered,
            )
        )

    def plan(self) -> Plan:
        """Return the plan: nothing after the last test, no free cell that no test needs."""
        last = max(
            (place for place, step in enumerate(self.steps) if step.role is Role.TEST), default=-1
        )
        kept: list[Step] = []
        needed: set[str] = set()
        for step in reversed(self.steps[: last + 1]):
            is_free = step.role is Role.IMPORTS or (step.role is Role.GIVEN and not step.grade_id)
            if is_free and not step.facts.bound & needed and "*" not in step.facts.imported:
                kept[-1] = replace(kept[-1], answered=kept[-1].answered | step.answered)
                continue
            needed |= step.facts.used
            kept.append(step)
        return Plan(student=self.student, steps=tuple(reversed(kept)), classes=self.classes)
