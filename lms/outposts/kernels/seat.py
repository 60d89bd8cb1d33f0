"""One kernel's place at a GPU: the lease it asks for, beats for, and gives back.

A kernel never fails for want of a GPU, and never waits in a queue for one. When the LMS refuses or
does not answer, or others are before it, the kernel starts on the CPU and its person works on;
meanwhile its place is kept, and a restart finds the GPU when it has come. What the seat knows is
shown beside the notebook (lms/outposts/notebook/gpu.py); who looks at it in another program reads
the same under the cells.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from lms.outposts.kernels.leasing import (
    BEAT_SECONDS,
    LeaseApi,
    LeaseEndedError,
    LeaseError,
    LeaseView,
    wait_for,
)

T = TypeVar("T")

#: A warning comes with every beat; the person reads it this often, in seconds.
REMIND_SECONDS = 60.0
#: How long a start waits behind others, in seconds: enough for a GPU that is just coming back.
QUEUE_SECONDS = 1.5
#: How often one looks whether a GPU that came is still kept, in seconds.
KEPT_SECONDS = 5.0
#: Who has seen the seat's state this lately, in seconds, is told nothing under the cells.
SEEN_SECONDS = 75.0
_NOT_THERE = {403, 404}
_SEOUL = timezone(timedelta(hours=9))

_ON_CPU = "이 커널은 CPU에서 실행돼요. · This kernel runs on the CPU."
_STILL_WAITS = (
    "자리는 그대로 지켜져요. 차례가 오면 알려 드려요. · "
    "Your place in the queue is kept; you will be told when it is your turn."
)
_THERE = (
    "GPU 차례가 왔어요. 2분 안에 커널을 다시 시작하면 쓸 수 있어요. · "
    "It is your turn: restart the kernel within two minutes to use the GPU."
)
_REFUSED = "GPU를 열지 못했어요. · The GPU could not be opened."


class SeatState(StrEnum):
    """Where a kernel stands."""

    #: On the CPU, and nothing is asked for.
    CPU = "cpu"
    #: On the CPU, with a place in the queue.
    WAITING = "waiting"
    #: On the CPU, and a GPU is kept for its next start.
    READY = "ready"
    #: On the GPU.
    GPU = "gpu"


class Seat:
    """Asks for one kernel; its methods belong to the server's event loop."""

    def __init__(
        self,
        api: LeaseApi,
        profile: str,
        kernel_id: str,
        tell: Callable[[str], None],
        *,
        offering: str | None = None,
    ) -> None:
        """`offering`: whose hours count; None, and where the person has none there: one's own."""
        self.profile = profile
        self.state = SeatState.CPU
        #: What the LMS said last of the lease or the place in the queue.
        self.lease: LeaseView | None = None
        #: Why there is no GPU, in the LMS's words.
        self.text = ""
        #: Why there are no words of the LMS: "away" when it did not answer, "broker" when the GPU
        #: could not be opened.
        self.fault = ""
        #: What is about to end, in the LMS's words.
        self.warning = ""
        #: The language of those words: "ko" or "en"; empty when not known.
        self.language = ""
        self._api = api
        self._kernel_id = kernel_id
        self._offering = offering
        self._tell_under_cells = tell
        self._log = logging.getLogger("lms.gpu")
        self._queue: _Queue | None = None
        self._lining_up = asyncio.Lock()
        self._is_declined = False
        self._seen_at = -SEEN_SECONDS
        self._following: asyncio.Task[None] | None = None

    def see(self) -> None:
        """Take note that somebody sees the seat's state: the cells need not tell it."""
        self._seen_at = time.monotonic()

    # --- starts of the kernel ---

    async def take(self, seconds: float, *, may_ask: bool) -> str:
        """Return the id of a granted lease, or nothing when the kernel is to start on the CPU.

        `seconds` is how long a GPU may take that is this kernel's already; behind others it does
        not wait. Without `may_ask` only the lease that the kernel had is taken again: who has lost
        a GPU for leaving it idle gets no other before the person wishes for one.
        """
        self._follow_no_more()
        if self._is_declined or (not may_ask and self.lease is None and self._queue is None):
            await self._give_back()
            self._tell(_ON_CPU)
            return ""
        try:
            return await self._take(seconds, may_ask=may_ask)
        except LeaseError as error:
            self._note_refusal(error)
            self._tell(f"{error} {_ON_CPU}")
            return ""

    async def _take(self, seconds: float, *, may_ask: bool) -> str:
        queue = await self._line_up(may_ask=may_ask)
        patience = min(seconds, QUEUE_SECONDS) if queue.view.position else seconds
        await asyncio.wait({queue.future}, timeout=patience)
        if queue is not self._queue:
            # The person left the queue meanwhile.
            return ""
        if not queue.future.done():
            self._tell(f"{queue.view.text} {_ON_CPU} {_STILL_WAITS}")
            queue.future.add_done_callback(lambda _: self._come(queue))
            return ""
        self._queue = None
        self.lease = queue.future.result()
        return self.lease.id

    def begin(self, is_busy: Callable[[], bool]) -> None:
        """Take note that the kernel has the GPU: the person is told, and the lease is kept."""
        if self.lease is not None:
            self.state = SeatState.GPU
            self._tell(describe(self.lease))
            self._following = asyncio.create_task(self._beat(self.lease.id, is_busy))

    async def fail(self) -> None:
        """Give back a lease that the broker gave no kernel for."""
        await self._give_back()
        self.fault = "broker"
        self._tell(f"{_REFUSED} {_ON_CPU}")

    async def leave(self) -> None:
        """Give everything back: the kernel was shut down."""
        self._follow_no_more()
        await self._give_back()

    # --- wishes of the person while the kernel runs ---

    async def ask(self) -> None:
        """Ask for a GPU while the kernel runs on the CPU; a restart will find it."""
        self._is_declined = False
        if self.state is not SeatState.CPU or self._queue is not None:
            return
        try:
            queue = await self._line_up(may_ask=True)
        except LeaseError as error:
            self._note_refusal(error)
        else:
            queue.future.add_done_callback(lambda _: self._come(queue))

    async def decline(self) -> None:
        """Leave the queue; a kernel that has the GPU keeps it until its next start."""
        self._is_declined = True
        if self.state is not SeatState.GPU:
            self._follow_no_more()
            await self._give_back()

    # --- the queue ---

    async def _line_up(self, *, may_ask: bool) -> "_Queue":
        """Return the kernel's wait, a new one unless it waits already."""
        async with self._lining_up:
            if self._queue is None:
                first = await _in_thread(lambda: self._begin(may_ask=may_ask))
                self._queue = self._join(_Queue(first))
                self.state, self.text, self.fault = SeatState.WAITING, "", ""
            return self._queue

    def _join(self, queue: "_Queue") -> "_Queue":
        loop = asyncio.get_running_loop()

        def hear(view: LeaseView) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._hear, queue, view)

        def is_wanted() -> bool:
            return not queue.is_left.is_set()

        queue.future = _in_thread(
            lambda: wait_for(self._api, queue.view, hear, is_wanted=is_wanted)
        )
        # Who left a queue does not ask how it went on.
        queue.future.add_done_callback(lambda future: future.exception())
        self.lease, self.language = queue.view, queue.view.language
        return queue

    def _begin(self, *, may_ask: bool) -> LeaseView:
        if not may_ask and self.lease is not None:
            return self._api.look(self.lease.id)
        if self._offering is not None:
            try:
                return self._api.ask(self.profile, self._kernel_id, self._offering)
            except LeaseError as error:
                # A folder may be called anything, and lie there when its course has long ended.
                if error.status not in _NOT_THERE:
                    raise
        return self._api.ask(self.profile, self._kernel_id)

    def _hear(self, queue: "_Queue", view: LeaseView) -> None:
        if queue is self._queue:
            queue.view = self.lease = view
        self._log.info("kernel %s waits for a GPU: %s", self._kernel_id, view.text)

    def _come(self, queue: "_Queue") -> None:
        """Take note that the wait of a kernel that runs on the CPU has ended."""
        error = queue.future.exception()
        if queue is not self._queue:
            return
        self._queue = None
        if isinstance(error, LeaseError):
            self._note_refusal(error)
            self._tell(str(error))
        elif error is None:
            self.lease, self.state = queue.future.result(), SeatState.READY
            self._tell(_THERE)
            self._following = asyncio.create_task(self._watch(self.lease.id))

    async def _watch(self, lease: str) -> None:
        """Look whether the GPU is still kept for a kernel that could start on it."""
        while True:
            await asyncio.sleep(KEPT_SECONDS)
            try:
                view = await _in_thread(lambda: self._api.look(lease))
            except LeaseError as error:
                self._log.warning("the lease of kernel %s: %s", self._kernel_id, error)
                continue
            if view.state == "ended":
                self._note_end(view.text)
                return

    def _note_refusal(self, error: LeaseError) -> None:
        self._log.warning("no GPU for kernel %s: %s", self._kernel_id, error)
        self._note_end(str(error) if error.is_from_lms else "")
        self.fault = "" if error.is_from_lms else "away"

    def _note_end(self, text: str) -> None:
        self.lease, self.state, self.text, self.warning = None, SeatState.CPU, text, ""
        self.fault = ""

    async def _give_back(self) -> None:
        lease, queue = self.lease, self._queue
        self._queue = None
        if queue is not None:
            queue.is_left.set()
        self._note_end(self.text if lease is None else "")
        if lease is not None:
            # The LMS notices by itself that its kernel has gone.
            with contextlib.suppress(LeaseError):
                await _in_thread(lambda: self._api.give_back(lease.id))

    async def _beat(self, lease: str, is_busy: Callable[[], bool]) -> None:
        told_at = -REMIND_SECONDS
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            busy = is_busy()
            try:
                text = await _in_thread(lambda: self._api.beat(lease, busy=busy))  # noqa: B023
            except LeaseEndedError as error:
                self._note_end(str(error))
                self._tell(str(error))
                return
            except LeaseError as error:
                self._log.warning("the lease of kernel %s: %s", self._kernel_id, error)
                continue
            self.warning = text
            if text and time.monotonic() - told_at >= REMIND_SECONDS:
                told_at = time.monotonic()
                self._tell(text)

    def _follow_no_more(self) -> None:
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def _tell(self, text: str) -> None:
        if time.monotonic() - self._seen_at >= SEEN_SECONDS:
            self._tell_under_cells(text)


class _Queue:
    """One wait for a GPU."""

    def __init__(self, view: LeaseView) -> None:
        self.view = view
        self.future: asyncio.Future[LeaseView]
        #: Set when nobody waits any more.
        self.is_left = threading.Event()


def describe(lease: LeaseView) -> str:
    """Say which GPU it is and until when: `GPU 0 (모의 · simulated), until 15:40`."""
    names = ", ".join(one.rpartition("-")[2] if lease.simulated else one for one in lease.devices)
    kind = " (모의 · simulated)" if lease.simulated else ""
    text = f"GPU {names}".rstrip() + kind
    if lease.until is None:
        return text
    clock = lease.until.astimezone(_SEOUL).strftime("%H:%M")
    return f"{text}, {clock}까지 · until {clock}"


def offering_of(cwd: Path, courses_dir: Path) -> str | None:
    """Return the offering whose folder a notebook lies in, None outside of all."""
    if not cwd.is_relative_to(courses_dir) or cwd == courses_dir:
        return None
    return cwd.relative_to(courses_dir).parts[0]


def _in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Do `work` in a thread of its own: one may wait for hours, and must not hold up an exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - whoever awaits hears of it
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="gpu-lease", daemon=True).start()
    return future
