"""What the catalogue cannot find or read."""

from lms.foundation.errors import InvalidError, NotFoundError
from lms.protocol.sentences import sentence


class NotInCatalogueError(NotFoundError):
    """No programme, course, offering, unit or assignment has that key."""

    def __init__(self, key: str) -> None:
        super().__init__(
            sentence(
                "“%(key)s” is not in the catalogue. It may have been renamed; look in Courses.",
                key=key,
            )
        )
        self.key = key


class CourseFileError(InvalidError):
    """A course's file says something that cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            sentence(
                "%(where)s: %(problem)s. Mend the file and try again.", where=where, problem=problem
            )
        )
