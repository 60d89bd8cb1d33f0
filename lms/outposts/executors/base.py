"""The seam: `concurrent.futures`, and a word on whether the executor is still there."""

from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor


class ExecutorUnavailableError(Exception):
    """No executor could be started or reached; the text says why."""


class ChildLostError(BrokenExecutor):
    """The process that ran the job ended under it; other jobs are not touched."""


class JobExecutor(Executor):
    """An executor that can say that it has gone for good and must be started anew."""

    def is_lost(self) -> bool:
        """Say whether nothing submitted from now on would run."""
        return False


class ThreadsExecutor(ThreadPoolExecutor, JobExecutor):
    """Jobs in threads of this process: least memory, and one core for all that is Python's."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, thread_name_prefix="job")
