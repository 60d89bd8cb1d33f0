"""What can go wrong with bundles, each with the sentence a person is told."""

from lms.protocol.sentences import Sentence


class BundleError(Exception):
    """Something about bundles that a person can be told in one sentence."""

    def __init__(self, problem: Sentence) -> None:
        super().__init__(str(problem))
        self.sentence = problem


class HostileError(BundleError):
    """What was read breaks the rules of the format: nothing of it is used."""


class UntrustedError(BundleError):
    """Signatures, versions or dates do not hold."""


class SourceError(BundleError):
    """A source does not give what it should; another source or a later time may."""


class DamagedError(BundleError):
    """Bytes are not the ones that the signed manifest names."""


class FullError(BundleError):
    """The disk has no room; what was fetched is kept, and a later pull goes on from there."""
