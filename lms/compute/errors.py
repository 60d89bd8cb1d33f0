"""Why a lease is refused; waiting for one is no error."""

from lms.foundation.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from lms.protocol.sentences import sentence


class LeaseNotFoundError(NotFoundError):
    """No such lease, or none that the actor may know of."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such lease, or it is not yours to see."))


class NoSuchProfileError(InvalidError):
    """The profile does not exist or takes no lease."""

    def __init__(self, profile: str) -> None:
        super().__init__(
            sentence(
                "There is no GPU profile called %(name)s. "
                "“My compute” and `lms gpu status` list those there are.",
                name=profile[:64],
            )
        )


class ProfileForbiddenError(ForbiddenError):
    """The profile is for other people."""

    def __init__(self) -> None:
        super().__init__(
            sentence("Your account may not use this profile; ask your instructor for it.")
        )


class NoDeviceError(ConflictError):
    """Nothing in this machine can ever fill the profile."""

    def __init__(self) -> None:
        super().__init__(
            sentence("This machine has no such GPU. Notebooks run on the CPU, and nothing is lost.")
        )


class QuotaExceededError(ConflictError):
    """The week's hours are used up."""

    def __init__(self, hours: float) -> None:
        super().__init__(
            sentence(
                "Your %(hours)s GPU-hours of this week are used up; new ones come on Monday. "
                "Until then notebooks run on the CPU.",
                hours=round(hours, 2),
            )
        )
        self.hours = hours


class CannotReserveError(ConflictError):
    """More seats than there are."""

    def __init__(self, seats: int) -> None:
        super().__init__(
            sentence(
                "%(seats)s seats cannot be kept then: other reservations or the machine's size "
                "leave fewer. Ask for fewer seats, a smaller slice or another time.",
                seats=seats,
            )
        )


class PromiseExceededError(ConflictError):
    """More than the class may keep."""

    def __init__(self, seats: int, hours: float, kept: float) -> None:
        super().__init__(
            sentence(
                "This course may keep %(seats)s seats at once and %(hours)s seat-hours a week, of "
                "which %(kept)s are kept already. A whole GPU counts as its slices. An operator "
                "can allow more.",
                seats=seats,
                hours=round(hours, 2),
                kept=round(kept, 2),
            )
        )


class TooManyBookingsError(ConflictError):
    """The week's bookings are used up, or were left unused."""

    def __init__(self, most: int, unused: int) -> None:
        super().__init__(
            sentence(
                "One can book %(most)s hours a week, and no more once %(unused)s of them were not "
                "used. New ones come on Monday; GPUs that are free need no booking.",
                most=most,
                unused=unused,
            )
        )


class ReservationNotFoundError(NotFoundError):
    """No such reservation."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such reservation; it may have been cancelled."))


class TooManyWishesError(ConflictError):
    """One person waits for too much."""

    def __init__(self, most: int) -> None:
        super().__init__(
            sentence(
                "You hold or wait for %(most)s leases already. End one on “My compute” first.",
                most=most,
            )
        )


class NoSuchChangeError(NotFoundError):
    """No such line in the history of quotas."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such change of a quota."))


class ChangeNotLastError(ConflictError):
    """Another change was made at the same place since."""

    def __init__(self) -> None:
        super().__init__(
            sentence("This was changed again since; take the newer change back first.")
        )


class RequestNotFoundError(NotFoundError):
    """No such request for hours."""

    def __init__(self) -> None:
        super().__init__(sentence("There is no such request for GPU-hours."))


class RequestOpenError(ConflictError):
    """The offering waits for an answer already."""

    def __init__(self) -> None:
        super().__init__(
            sentence("A request of this course waits for an answer; withdraw it to ask anew.")
        )


class RequestAnsweredError(ConflictError):
    """Somebody was faster."""

    def __init__(self) -> None:
        super().__init__(sentence("This request has been answered or withdrawn already."))
