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


class SealedError(NotFoundError):
    """The instructor's files of a release are not here, or still closed."""

    def __init__(self, release: str) -> None:
        super().__init__(
            sentence(
                "The hidden tests of this assignment are not open here yet. What is handed in is "
                "kept and graded once they are."
            )
        )
        self.release = release


class CourseFileError(InvalidError):
    """A course's file says something that cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            sentence(
                "%(where)s: %(problem)s. Mend the file and try again.", where=where, problem=problem
            )
        )
