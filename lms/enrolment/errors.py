"""Why an enrolment is refused."""

from datetime import date

from lms.foundation.errors import ConflictError, ForbiddenError, NotFoundError
from lms.protocol.sentences import sentence


class EnrolmentClosedError(ConflictError):
    """The offering takes nobody in any more."""

    def __init__(self, ended_on: date) -> None:
        super().__init__(
            sentence(
                "Enrolment closed on %(date)s. Look for a later term, or ask the instructor.",
                date=ended_on.isoformat(),
            )
        )
        self.ended_on = ended_on


class OfferingFullError(ConflictError):
    """Every place is taken."""

    def __init__(self, capacity: int) -> None:
        super().__init__(
            sentence(
                "All %(capacity)s places are taken. Look for another term, or ask the instructor.",
                capacity=capacity,
            )
        )
        self.capacity = capacity


class WrongCodeError(ForbiddenError):
    """The enrolment code does not fit."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "That enrolment code does not fit this course. "
                "Check it with whoever gave it to you; capitals and spaces do not matter."
            )
        )


class EnrolmentDeclinedError(ForbiddenError):
    """An instructor said no; asking again would not change it."""

    def __init__(self) -> None:
        super().__init__(
            sentence("Your request was declined. Please talk to the course's instructor.")
        )


class EnrolmentNotFoundError(NotFoundError):
    """No such enrolment."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such enrolment; the list may have changed."))
