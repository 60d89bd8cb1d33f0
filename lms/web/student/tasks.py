"""Small facts about assignments in offerings, shared by the pages of the journey."""

from lms.catalogue.models import OfferedAssignment, Release


def task_href(task: OfferedAssignment) -> str:
    """Return the address of an assignment's page."""
    return f"/offerings/{task.offering.key}/assignments/{task.assignment.key}"


def question_count(release: Release | None) -> int:
    """Return how many graded questions a release has."""
    if release is None:
        return 0
    return sum(len(notebook.get("questions", ())) for notebook in release.notebooks)
