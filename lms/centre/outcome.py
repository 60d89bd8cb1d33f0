"""How a record ends that cannot be applied: refused for good, or waiting for what it needs."""

from lms.protocol.sentences import Sentence


class Refused(Exception):  # noqa: N818 - an outcome rather than a fault
    """The record does not become anything; it is kept with the reason."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(str(why))
        self.why = why


class Waits(Exception):  # noqa: N818
    """Something that the record needs has not come yet."""
