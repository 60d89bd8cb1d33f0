"""How full people's homes are: kept by the file system where it can, else measured now and then.

A home over its allowance is no reason not to start a server: who must delete has to get in.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lms.outposts.broker import layout
from lms.outposts.broker.quota import Quotas
from lms.protocol.broker import ServerRequest
from lms.protocol.disk import HomeUse
from lms.protocol.sentences import Sentence, sentence

_log = logging.getLogger(__name__)
#: How long after the broker's start homes are measured, and how long between the ends and starts.
FIRST_SECONDS, EVERY_SECONDS = 20.0, 600.0
#: How many nearly full homes are named.
_NAMED = 5
#: More than the sweep gives itself.
_LONGEST_SECONDS = 300.0


class Homes:
    """What is known of homes; its methods wait for nobody."""

    def __init__(
        self,
        homes_dir: Path,
        state_dir: Path,
        *,
        first: float = FIRST_SECONDS,
        quotas: Quotas | None = None,
    ) -> None:
        self._homes_dir = homes_dir
        self._file = state_dir / "homes" / "use.json"
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._quotas = quotas or Quotas(homes_dir)
        self._known = self._read()
        self._sweep_at = time.monotonic() + first
        self._sweep: subprocess.Popen[bytes] | None = None
        self._heard = b""

    def list_uses(self) -> list[HomeUse]:
        """Return what is known of each home."""
        return sorted(self._known.values(), key=lambda one: one.username)

    def allow(self, request: ServerRequest) -> None:
        """Note how much the home of a server may hold, and have the file system keep it."""
        limit = request.limits.disk_bytes
        enforced = False
        try:
            enforced = os.geteuid() == 0 and self._quotas.limit(
                Path(request.home), request.uid, limit
            )
        except OSError as error:
            _log.warning("the quota of %s cannot be set: %s", request.username, error)
        before = self._known.get(request.username)
        if before is None:
            before = HomeUse(
                username=request.username, used_bytes=0, limit_bytes=limit, measured_at=0.0
            )
        use = replace(before, limit_bytes=limit, enforced=enforced)
        with contextlib.suppress(OSError):
            counted = self._quotas.used_bytes(request.uid) if enforced else None
            if counted is not None:
                use = replace(use, used_bytes=counted, measured_at=time.time(), complete=True)
        if use != before or request.username not in self._known:
            self._known[request.username] = use
            self._write()

    def tick(self, now: float) -> None:
        """Take what the sweep says, and start it when it is time."""
        if self._sweep is not None:
            self._hear(self._sweep, now)
        elif now > self._sweep_at:
            self._start(now)

    def end(self) -> None:
        """End the sweep; it has nothing to lose."""
        if self._sweep is not None:
            self._sweep.kill()
            self._sweep.wait()
            if self._sweep.stdout is not None:
                self._sweep.stdout.close()
            self._sweep = None

    def _start(self, now: float) -> None:
        source = (
            f"import sys; sys.path.insert(0, {layout.source_root()!r}); "
            "from lms.outposts.broker.sweep import main; "
            "sys.exit(main(*sys.argv[1:]))"
        )
        self._sweep = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", source, str(self._homes_dir), str(self._file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd="/",
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )
        if self._sweep.stdout is not None:
            os.set_blocking(self._sweep.stdout.fileno(), False)
        self._sweep_at = now + _LONGEST_SECONDS

    def _hear(self, child: "subprocess.Popen[bytes]", now: float) -> None:
        has_ended = child.poll() is not None or now > self._sweep_at
        data = child.stdout.read() if child.stdout is not None else b""
        *lines, self._heard = (self._heard + (data or b"")).split(b"\n")
        for line in lines:
            self._note(json.loads(line))
        if lines:
            self._write()
        if has_ended:
            self.end()
            self._heard = b""
            self._sweep_at = now + EVERY_SECONDS
            self._forget_gone()

    def _note(self, measured: dict[str, object]) -> None:
        name = str(measured["username"])
        before = self._known.get(name)
        fresh = HomeUse.from_json({"limit_bytes": 0, "enforced": False, **measured})
        if before is not None:
            # What could not be looked through is not less than it was known to be.
            least = 0 if fresh.complete else before.used_bytes
            fresh = replace(
                fresh,
                limit_bytes=before.limit_bytes,
                enforced=before.enforced,
                used_bytes=max(fresh.used_bytes, least),
            )
        self._known[name] = fresh

    def _forget_gone(self) -> None:
        gone = [name for name in self._known if not (self._homes_dir / name).is_dir()]
        for name in gone:
            del self._known[name]
        if gone:
            self._write()

    def _read(self) -> dict[str, HomeUse]:
        try:
            uses = [HomeUse.from_json(one) for one in json.loads(self._file.read_text())]
        except (OSError, ValueError):
            return {}
        return {use.username: use for use in uses}

    def _write(self) -> None:
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_text(json.dumps([use.to_json() for use in self._known.values()]))
            draft.replace(self._file)
        except OSError as error:
            _log.warning("what homes take cannot be written down: %s", error)


def tell_full(uses: Iterable[HomeUse]) -> list[Sentence]:
    """Return what operators should know of homes that are nearly full."""
    full = sorted((use for use in uses if use.is_nearly_full), key=lambda use: -use.share)
    if not full:
        return []
    names = ", ".join(f"{use.username} {use.share:.0%}" for use in full[:_NAMED])
    return [sentence("%(count)s homes are nearly full: %(names)s.", count=len(full), names=names)]
