"""What grading, releasing and checking raise; each carries the sentence a person is told."""

from lms.protocol.grading import Detail, RunStatus
from lms.protocol.sentences import Sentence


class RunnerError(Exception):
    """Something went wrong that can be said in one sentence."""

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(str(sentence))
        self.sentence = sentence


class ReleaseError(RunnerError):
    """The instructor's folder cannot be made into a release; the instructor has to mend it."""


class KernelStartError(RunnerError):
    """No kernel came up: our fault, so the run may be tried again and costs the student nothing."""


class SubmissionError(RunnerError):
    """What was handed in cannot be graded: it is rejected with this sentence."""


class RunStoppedError(RunnerError):
    """The student's code ended its own run; `status` says how, `detail` is the instructor's."""

    def __init__(self, status: RunStatus, sentence: Sentence, detail: Detail | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.detail = detail
