"""Every assignment of the fidelity corpus."""

from tests.integration.grading.fidelity import basics, oddities, science
from tests.integration.grading.fidelity.parts import Assignment

ASSIGNMENTS: dict[str, Assignment] = {
    assignment.name: assignment
    for assignment in (*basics.ASSIGNMENTS, *science.ASSIGNMENTS, *oddities.ASSIGNMENTS)
}
