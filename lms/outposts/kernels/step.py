"""One kernel's job, as the server's side holds it: srun's lines in and out."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lms.outposts.kernels import slurm_jobs, slurm_said
from lms.outposts.kernels.slurm_said import Words, both

_READY_SECONDS = 120.0
_END_SECONDS = 5.0
#: Between the sentence in the notebook and the word that the kernel has ended: a page drops what
#: comes for a cell once it knows of a restart.
_SENTENCE_SECONDS = 0.5
_LOST = 1


class StepError(Exception):
    """The job did not start; the text says why, for the person who waits."""


class Step:
    """An srun and the kernel behind it."""

    def __init__(
        self, argv: Sequence[str], *, on_loss: Callable[[Words], None], lost_seconds: float
    ) -> None:
        self.has_kernel = True
        self.job_id = ""
        self.node = ""
        self._on_loss = on_loss
        self._lost_seconds = lost_seconds
        self._changed = threading.Condition()
        self._words: dict[str, Any] = {}
        self._code: int | None = None
        #: srun's last words of its own, for why it refused the job.
        self._said = ""
        self._is_over = False
        self._is_ending = False
        self._heard_at = time.monotonic()
        try:
            self._srun = subprocess.Popen(
                argv,
                env=slurm_jobs.command_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A Ctrl-C in the server's terminal is none of the kernel's.
                start_new_session=True,
            )
        except OSError as error:
            raise StepError(f"srun cannot be run: {error.strerror}") from error
        self._log = threading.Thread(target=self._copy_log, name="kernel-log", daemon=True)
        self._log.start()
        threading.Thread(target=self._read, name="kernel-step", daemon=True).start()
        threading.Thread(target=self._watch, name="kernel-watch", daemon=True).start()

    def wait_for_job(self, seconds: float) -> None:
        """Wait until the job runs; raises StepError with Slurm's reason for making it wait."""
        try:
            self.job_id = self._wait("hello", seconds)
        except TimeoutError:
            raise StepError(both(self._why_waiting())) from None
        # Waiting does not count as silence.
        self._heard_at = time.monotonic()

    def start(self, credential: str) -> dict[str, Any]:
        """Have the kernel started and return where it listens; raises StepError."""
        self._write(credential)
        return self._ready()

    def start_again(self) -> dict[str, Any]:
        """Start the kernel again in the same job, at the same place; raises StepError."""
        with self._changed:
            self._words.pop("ready", None)
            self._code = None
        self._order({"start": True})
        self.has_kernel = True
        return self._ready()

    def is_reusable(self) -> bool:
        """Say whether the job still runs and can have another kernel."""
        return not self._is_over and "ready" in self._words

    def poll(self) -> int | None:
        """Return the kernel's exit code or None while it runs."""
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel, if the job is still there."""
        self._order({"signal": number})

    def end(self) -> None:
        """End the job; returns when Slurm has been told."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            # The node's side takes the end of its input for its own.
            assert self._srun.stdin is not None  # noqa: S101 - asked for above
            self._srun.stdin.close()
        # A job that still waits has nobody who would notice.
        seconds = _END_SECONDS if "hello" in self._words else 0
        try:
            self._srun.wait(seconds)
        except subprocess.TimeoutExpired:
            self._cancel()
            self._srun.kill()
            self._srun.wait()

    def _cancel(self) -> None:
        job = self.job_id or self._find_id()
        with contextlib.suppress(slurm_jobs.SlurmError):
            slurm_jobs.cancel_jobs([job] if job else [])

    def _find_id(self) -> str:
        """Return the id of a job that has not said hello."""
        assert isinstance(self._srun.args, list)  # noqa: S101 - given so above
        names = [word.partition("=")[2] for word in self._srun.args if "--job-name=" in word]
        with contextlib.suppress(slurm_jobs.SlurmError):
            for job in slurm_jobs.list_kernel_jobs(mine=True):
                if f"{slurm_jobs.PREFIX}{job.lease}" in names:
                    return job.id
        return ""

    def _why_waiting(self) -> Words:
        job_id = self._find_id()
        job = slurm_jobs.find_job(job_id) if job_id else None
        return slurm_said.waits(job.reason if job is not None else "?")

    def _ready(self) -> dict[str, Any]:
        try:
            place: dict[str, Any] = self._wait("ready", _READY_SECONDS)
        except TimeoutError:
            raise StepError("the kernel did not become ready on its node") from None
        self.node = str(self._words.get("host", ""))
        return place

    def _wait(self, word: str, seconds: float) -> Any:  # noqa: ANN401 - JSON of ours
        def arrived() -> bool:
            return word in self._words or "failed" in self._words or self._is_over

        with self._changed:
            if not self._changed.wait_for(arrived, seconds):
                raise TimeoutError
            if word in self._words:
                return self._words[word]
            raise StepError(str(self._words.get("failed") or self._why_refused()))

    def _why_refused(self) -> str:
        # What it said may still be on its way.
        self._log.join(_END_SECONDS)
        words = slurm_said.missing(self._said)
        if words is not None:
            return both(words)
        return f"srun refused the job: {self._said}" if self._said else "srun ended without a word"

    def _copy_log(self) -> None:
        """Pass on what srun and the kernel say to the server's log, and keep srun's own words."""
        assert self._srun.stderr is not None  # noqa: S101 - asked for above
        for line in self._srun.stderr:
            text = line.decode(errors="replace")
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
            if text.startswith("srun: error: "):
                self._said = text.removeprefix("srun: error: ").strip()
        self._srun.stderr.close()

    def _order(self, order: dict[str, Any]) -> None:
        self._write(json.dumps(order))

    def _write(self, line: str) -> None:
        assert self._srun.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(OSError, ValueError):
            self._srun.stdin.write(line.encode() + b"\n")
            self._srun.stdin.flush()

    def _read(self) -> None:
        """Take the node's words until there are no more."""
        assert self._srun.stdout is not None  # noqa: S101 - asked for above
        for line in self._srun.stdout:
            self._heard_at = time.monotonic()
            try:
                word = json.loads(line)
            except ValueError:
                continue
            with self._changed:
                if "ended" in word:
                    self._code = int(word["ended"])
                elif isinstance(word, dict):
                    self._words.update(word)
                self._changed.notify_all()
        self._srun.stdout.close()
        self._srun.wait()
        self._over()

    def _watch(self) -> None:
        """Take a node that says nothing for lost."""
        while not self._is_over:
            time.sleep(1)
            silent = time.monotonic() - self._heard_at
            if self.node and silent > self._lost_seconds and not self._is_ending:
                self._over()
                self._cancel()
                self._srun.kill()

    def _over(self) -> None:
        with self._changed:
            if self._is_over:
                return
            self._is_over = True
            was_running = self.node and self._code is None
            self._changed.notify_all()
        if was_running and not self._is_ending:
            job = slurm_jobs.find_job(self.job_id)
            self._on_loss(slurm_said.ended(job.state if job else "LOST", self.node))
            time.sleep(_SENTENCE_SECONDS)
            # srun alone may have ended: its step would hold the GPU until its time is over.
            self._cancel()
        if self._code is None:
            self._code = _LOST
