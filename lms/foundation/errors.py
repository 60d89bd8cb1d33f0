"""The five kinds of error; rooms subclass them, doors map them to a status or an exit code."""

from lms.protocol.sentences import Sentence


class LmsError(Exception):
    """Something a person can be told in one sentence: what happened and what to do."""

    #: What the shell returns; HTTP statuses live in lms.web.errors.
    exit_code = 1

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(str(sentence))
        self.sentence = sentence


class NotFoundError(LmsError):
    """What was named does not exist, or may not be known to the asker."""

    exit_code = 4


class ForbiddenError(LmsError):
    """The actor may not do this."""

    exit_code = 5


class ConflictError(LmsError):
    """The state of things does not allow this now."""

    exit_code = 6


class InvalidError(LmsError):
    """What was given is not what was asked for."""

    exit_code = 2


class UnavailableError(LmsError):
    """A part that is needed does not answer or lacks room."""

    exit_code = 7
