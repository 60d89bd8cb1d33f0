"""Why a submission is refused; nothing is stored then."""

from lms.foundation.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from lms.protocol.sentences import Sentence, sentence


class NotReleasedError(ConflictError):
    """The assignment has no release yet."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "This assignment has not been released yet. "
                "Keep your file; you can submit once the instructor has released it."
            )
        )


class NotEnrolledError(ForbiddenError):
    """Only people in the offering may hand in."""

    def __init__(self) -> None:
        super().__init__(sentence("You are not enrolled in this course. Enrol first, then submit."))


class BadSubmissionError(InvalidError):
    """The files are not what an assignment takes."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(why)


class SubmissionNotFoundError(NotFoundError):
    """No such submission, or none that the actor may know of."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such submission, or it is not yours to see."))


class ReleaseNotFoundError(NotFoundError):
    """The digest names no release of this assignment."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such release of this assignment."))
