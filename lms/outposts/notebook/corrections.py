"""Bringing fetched assignments up to date with corrected releases, beside a person who works.

A notebook that is open in a browser is never written behind its back: it is corrected when the
browser saves it (see the extension's hook). Others are corrected on disk. Either way the file from
before is kept beside it.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from lms.outposts.notebook.cells import Notebook, read_notebook, write_notebook
from lms.outposts.notebook.client import Correction, ExchangeApi
from lms.outposts.notebook.notice import with_notice
from lms.outposts.notebook.patch import Conflict, patch_cells, patch_notebook
from lms.outposts.notebook.records import Record, find_record, replace_file

#: What the name of the file from before ends in; such files are not handed in.
BEFORE = ".before-correction"


class Corrections:
    """The fetched assignments of one person."""

    def __init__(self, home: Path, fetch: Callable[[], ExchangeApi]) -> None:
        self._home = home
        self._fetch = fetch

    def remember(self, folder: Path, digest: str) -> None:
        """Note the release that a folder was filled from just now."""
        find_record(self._home, folder).end(digest)

    def bring_up_to_date(
        self, folder: Path, current: str, *, open_files: Collection[Path] = ()
    ) -> list[str]:
        """Correct a fetched folder to the release `current`; return what was written, by path.

        Notebooks in `open_files` wait for their next save. Raises ExchangeApiError and OSError.
        """
        record = find_record(self._home, folder)
        correction = record.correction()
        if record.digest == current and correction is None:
            return []
        if correction is None or correction.digest != current or correction.base != record.digest:
            found = self._fetch().fetch_correction(folder.parent.name, folder.name, record.digest)
            if isinstance(found, str):
                record.end(found or current)
                return []
            correction = found
            record.digest = correction.base
            record.begin(correction)
        return self._apply(record, correction, folder, open_files)

    def _apply(
        self, record: Record, correction: Correction, folder: Path, open_files: Collection[Path]
    ) -> list[str]:
        written = _bring_data(correction, folder)
        waiting = set()
        for path in sorted(set(correction.old) - record.done):
            target = folder / path
            done = None if target in open_files else _correct_file(record, correction, target)
            if done is None:
                waiting.add(path)
                continue
            written += [path] if done else []
            record.done.add(path)
        if waiting:
            record.save()
        else:
            record.end(correction.digest)
        return written

    def on_save(self, target: Path, notebook: Notebook) -> Notebook:
        """Return what is to be saved of a notebook that a browser saves, corrected if it waits.

        A browser that has not loaded the correction sends the old cells each time; one that sends
        corrected cells is up to date, and then the notebook waits no longer.
        """
        folder, path = target.parent, target.name
        record = find_record(self._home, folder)
        correction = record.correction()
        if correction is None or path not in correction.old or path in record.done:
            return notebook
        old, new = (read_notebook(files[path]) for files in (correction.old, correction.new))
        if old is None or new is None:
            return notebook
        made, changes, conflicts = patch_cells(old, new, notebook)
        if made == notebook:
            record.done.add(path)
            record.save()
            return notebook
        backup = _keep(record, target)
        record.save()
        return with_notice(made, correction.number, changes, conflicts, backup) if changes else made


def _bring_data(correction: Correction, folder: Path) -> list[str]:
    """Write new data files, and changed ones that the person has as they were released."""
    written: list[str] = []
    for path, content in correction.files.items():
        target = folder / path
        is_there = os.path.lexists(target)
        if is_there and (not _is_regular(target) or _digest(target) != correction.data[path]):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)
        written.append(path)
    return written


def _kept_files(correction: Correction, folder: Path) -> list[Conflict]:
    """Return the corrected data files that the person had changed."""
    return [
        Conflict("file kept", path)
        for path, content in correction.files.items()
        if not _is_regular(folder / path) or (folder / path).read_bytes() != content
    ]


def _correct_file(record: Record, correction: Correction, target: Path) -> bool | None:
    """Correct a notebook on disk; None when it was saved in between and has to be looked at again.

    A notebook that the person deleted, or that is none, stays so.
    """
    path = target.name
    if not _is_regular(target):
        return False
    before = target.read_bytes()
    patched = patch_notebook(correction.old[path], correction.new[path], before)
    value = read_notebook(patched.content)
    conflicts = [*patched.conflicts, *_kept_files(correction, target.parent)]
    if value is None or (patched.content == before and not conflicts):
        return False
    backup = _keep(record, target)
    content = patched.content
    if patched.changes or conflicts:
        noted = with_notice(value, correction.number, patched.changes, conflicts, backup)
        content = write_notebook(noted)
    if target.read_bytes() != before:
        return None
    replace_file(target, content)
    return True


def _keep(record: Record, target: Path) -> str:
    """Keep the file as it is beside itself, once a correction; returns the name."""
    names = [f"{target.name}{BEFORE}", *(f"{target.name}{BEFORE}-{n}" for n in range(2, 1000))]
    taken = [name for name in names if os.path.lexists(target.parent / name)]
    if target.name in record.kept and taken:
        return taken[-1]
    name = next(name for name in names if name not in taken)
    if _is_regular(target):
        (target.parent / name).write_bytes(target.read_bytes())
    record.kept.add(target.name)
    return name


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
