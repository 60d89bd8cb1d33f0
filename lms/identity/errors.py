"""Why identity refuses: one class a reason, each with a sentence that says what to do."""

from datetime import datetime

from lms.foundation.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from lms.protocol.sentences import sentence


class UsernameInvalidError(InvalidError):
    """The username has a form that no account may have."""

    def __init__(self, text: str) -> None:
        super().__init__(
            sentence(
                "“%(text)s” cannot be a username. Use 2 to 32 small letters a-z, digits, - or _, "
                "and begin with a letter or a digit.",
                text=text[:40],
            )
        )


class UsernameReservedError(ConflictError):
    """The username belongs to a part of the system."""

    def __init__(self, username: str) -> None:
        super().__init__(
            sentence(
                "The username %(username)s is kept for the system. Please choose another.",
                username=username,
            )
        )
        self.username = username


class UsernameTakenError(ConflictError):
    """The username is somebody's, or once was."""

    def __init__(self, username: str) -> None:
        super().__init__(
            sentence(
                "The username %(username)s is taken; usernames are never given twice. "
                "Please choose another.",
                username=username,
            )
        )
        self.username = username


class EmailTakenError(ConflictError):
    """The e-mail address belongs to another account."""

    def __init__(self) -> None:
        super().__init__(sentence("Another account has this e-mail address."))


class DisplayNameInvalidError(InvalidError):
    """The name is empty, too long, or holds invisible characters."""

    def __init__(self) -> None:
        super().__init__(
            sentence("A name has 1 to 100 characters, without line breaks or invisible characters.")
        )


class EmailInvalidError(InvalidError):
    """The e-mail address cannot be one."""

    def __init__(self) -> None:
        super().__init__(sentence("That is not an e-mail address. Write it like name@example.org."))


class PasswordTooWeakError(InvalidError):
    """The password may not be used."""

    @classmethod
    def length(cls, shortest: int, longest: int) -> "PasswordTooWeakError":
        """Say how long a password must be."""
        return cls(
            sentence(
                "A password has %(shortest)s to %(longest)s characters. "
                "Four words of your own are a good one.",
                shortest=shortest,
                longest=longest,
            )
        )

    @classmethod
    def like_username(cls) -> "PasswordTooWeakError":
        """Say that the password is the username again."""
        return cls(sentence("The password is too much like the username. Please choose another."))

    @classmethod
    def repeated(cls) -> "PasswordTooWeakError":
        """Say that the password is one character over and over."""
        return cls(sentence("The password repeats the same characters. Please choose another."))


class PersonNotFoundError(NotFoundError):
    """Nobody has that username."""

    def __init__(self, username: str) -> None:
        super().__init__(
            sentence("There is no account called %(username)s.", username=username[:40])
        )
        self.username = username


class WrongPasswordError(ForbiddenError):
    """Username and password do not fit; which of them is wrong is not said."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "Username and password do not fit. Check both; capitals matter in the password. "
                "If you forgot it, ask your instructor or an administrator for a new one."
            )
        )


class AccountDisabledError(ForbiddenError):
    """The password was right, but the account is closed."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "This account is disabled. Your work is kept; please ask an administrator "
                "to open it again."
            )
        )


class TooManyAttemptsError(ForbiddenError):
    """The rate limit holds."""

    def __init__(self, retry_at: datetime, now: datetime) -> None:
        self.retry_at = retry_at
        self.minutes = max(1, -(-int((retry_at - now).total_seconds()) // 60))
        super().__init__(
            sentence(
                "There were too many wrong passwords. Try again in %(minutes)s minutes, or ask "
                "an administrator for a new password.",
                minutes=self.minutes,
            )
        )


class LastAdministratorError(ConflictError):
    """Somebody must be able to administer."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "This is the last administrator. Make another person administrator first, "
                "then try again."
            )
        )


class NoUidLeftError(ConflictError):
    """The reserved range of OS user ids is used up."""

    def __init__(self, first: int, end: int) -> None:
        super().__init__(
            sentence(
                "Every OS user id from %(first)s to %(last)s has been given out, and none is given "
                "twice. Ask the operator to widen the range.",
                first=first,
                last=end - 1,
            )
        )
