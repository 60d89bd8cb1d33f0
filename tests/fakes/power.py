"""A disk whose power fails: what was not brought to it is lost, what was renamed may come back."""

import random
from collections.abc import Iterable
from pathlib import Path

from lms.outposts.bundles.disk import Disk


class PowerCutError(BaseException):
    """The machine stands still; nothing may catch it."""


class FailingDisk(Disk):
    """Stops before its nth step, and can then forget what was never synced."""

    def __init__(self, stop_at: int, seed: int = 0) -> None:
        self.steps = 0
        self._stop_at = stop_at
        self._chance = random.Random(seed)  # noqa: S311 - repeatable
        #: Bytes of a file that are surely on the disk; only files that have others.
        self._synced: dict[Path, int] = {}
        #: Renames whose folder was not synced: old name, new name, what the new one held.
        self._renames: list[tuple[Path, Path, bytes | None]] = []

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self._stop_at:
            raise PowerCutError

    def append(self, path: Path, content: bytes) -> None:
        self._step()
        self._synced.setdefault(path, path.stat().st_size if path.exists() else 0)
        super().append(path, content)

    def cut(self, path: Path, size: int) -> None:
        self._step()
        super().cut(path, size)

    def sync(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self._step()
            self._synced.pop(path, None)
            self._renames = [one for one in self._renames if one[1].parent != path]

    def rename(self, path: Path, new: Path) -> None:
        self._step()
        held = new.read_bytes() if new.is_file() else None
        super().rename(path, new)
        if path in self._synced:
            self._synced[new] = self._synced.pop(path)
        self._renames.append((path, new, held))

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
        self._synced.pop(path, None)

    def lose_power(self) -> None:
        """Forget, as a file system may, what was not synced: all of it, some of it or none."""
        for path, size in self._synced.items():
            if path.exists() and self._chance.random() < 0.8:
                super().cut(path, self._chance.choice([size, (size + path.stat().st_size) // 2]))
        for old, new, held in reversed(self._renames):
            if new.exists() and not old.exists() and self._chance.random() < 0.5:
                new.rename(old)
                if held is not None:
                    new.write_bytes(held)
