"""Why central or a centre refuses; each says what to do."""

from datetime import datetime

from lms.foundation.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from lms.protocol.sentences import Sentence, sentence


class BadTicketError(InvalidError):
    """The ticket or reply cannot be used."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(why)

    @classmethod
    def altered(cls) -> "BadTicketError":
        """Say that the file was changed, or is of another kind."""
        return cls(
            sentence(
                "This file is not what central made: it was changed or is damaged. "
                "Nothing was changed here; ask central for a new ticket."
            )
        )

    @classmethod
    def expired(cls, at: datetime) -> "BadTicketError":
        """Say that its time is over."""
        return cls(
            sentence(
                "The ticket was good until %(date)s. Ask central for a new one.",
                date=at.date().isoformat(),
            )
        )

    @classmethod
    def used(cls) -> "BadTicketError":
        """Say that it was used, or that a newer one was made."""
        return cls(
            sentence("The ticket was used already, or a newer one was made. Ask central for one.")
        )

    @classmethod
    def needs_newer(cls, wanted: str, here: str) -> "BadTicketError":
        """Say which software central asks for."""
        return cls(
            sentence(
                "Central asks for software version %(wanted)s or newer, and this is %(here)s. "
                "Update this machine first, then join.",
                wanted=wanted,
                here=here,
            )
        )


class NotACentreError(ConflictError):
    """The command is for centres."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "This machine has not joined as a centre. "
                "Ask central for a ticket and run: lms centre join TICKET"
            )
        )


class IsACentreError(ConflictError):
    """The command is for central, or the machine has joined already."""

    def __init__(self, name: str) -> None:
        super().__init__(sentence("This machine is the centre “%(name)s” already.", name=name))


class UnknownCentreError(NotFoundError):
    """Central knows no such centre."""

    def __init__(self, name: str) -> None:
        super().__init__(sentence("There is no centre “%(name)s” here.", name=name[:100]))


class RevokedCentreError(ForbiddenError):
    """Its work is kept apart and not taken over."""

    def __init__(self, name: str) -> None:
        super().__init__(
            sentence(
                "The centre “%(name)s” was revoked. What it sends is kept apart and changes "
                "nothing; speak with central.",
                name=name,
            )
        )


class BadParcelError(InvalidError):
    """A piece of a journal does not hold."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(why)
