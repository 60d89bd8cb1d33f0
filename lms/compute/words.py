"""Sentences about leases that several places say."""

from lms.compute.rules import Cause
from lms.protocol.sentences import Sentence, sentence

GIVEN_BACK = sentence("The hours were lost by our own fault, so they were given back.")

_ENDED: dict[Cause, Sentence] = {
    Cause.PERSON: sentence("You gave the GPU back."),
    Cause.OPERATOR: sentence("An operator ended this lease."),
    Cause.IDLE: sentence("Nothing was computed for a while, so the GPU went to the next person."),
    Cause.CAP: sentence("The time of this lease was up."),
    Cause.UNUSED: sentence("No kernel used it, so it ended and cost nothing."),
    Cause.KERNEL: sentence("Its kernel had ended."),
    Cause.LOST: sentence("Its kernel was lost by our own fault; the hours were given back."),
    Cause.BROKER: sentence("The part that hands out GPUs lost it; the hours were given back."),
    Cause.DEVICE: sentence("The GPU itself went away; the hours were given back."),
}


def ended(cause: str | None) -> Sentence:
    """Say why a lease ended."""
    return _ENDED[Cause(cause or Cause.PERSON)]


HOLDS = sentence("In use")
WAITS = sentence("Waits")
READY = sentence("It is your turn: restart the kernel to move it to the GPU.")
PREPARED = sentence("It is your turn: the GPU is being prepared.")


def ends_soon(cause: Cause, seconds: int) -> Sentence:
    """Warn a notebook that its lease ends."""
    if cause is Cause.IDLE:
        return sentence(
            "Nothing is being computed: the GPU goes to the next person in %(seconds)s seconds. "
            "Run a cell to keep it.",
            seconds=seconds,
        )
    return sentence(
        "The time on the GPU is up in %(seconds)s seconds. Save what you need.", seconds=seconds
    )


def in_queue(position: int, wait_seconds: int | None) -> Sentence:
    """Say where a wish stands."""
    if wait_seconds is None:
        return sentence("You are number %(position)s in the queue.", position=position)
    return sentence(
        "You are number %(position)s in the queue; it takes about %(minutes)s minutes.",
        position=position,
        minutes=max(1, round(wait_seconds / 60)),
    )
