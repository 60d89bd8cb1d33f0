"""nbgrader's own gradebook, kept in memory: one a release as template, one a run as copy."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

#: The names nbgrader's tables need; nobody ever sees them.
STUDENT = "student"


class MemoryGradebook:
    """An in-memory nbgrader database; it exists between `__enter__` and `__exit__`."""

    def __init__(self, content: bytes | None = None) -> None:
        self._content = content
        # SQLite's memdb: connections of this process that name the same path share one database.
        self._uri = f"file:/gradebook-{uuid.uuid4().hex}?vfs=memdb"
        #: What nbgrader's preprocessors take; each opens an engine of its own on it.
        self.db_url = f"sqlite:///{self._uri}&uri=true"
        self._keeper: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        # The database lives as long as one connection to it is open.
        keeper = sqlite3.connect(self._uri, uri=True)
        if self._content is None:
            # A Gradebook that finds no table at all starts a process to ask alembic for a version.
            keeper.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            keeper.commit()
        else:
            template = sqlite3.connect(":memory:")
            template.deserialize(self._content)
            template.backup(keeper)
            template.close()
        self._keeper = keeper
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def dump(self) -> bytes:
        """Return the database as bytes that another MemoryGradebook starts from."""
        if self._keeper is None:
            raise ValueError("the gradebook is not open")
        copy = sqlite3.connect(":memory:")
        try:
            self._keeper.backup(copy)
            return bytes(copy.serialize())
        finally:
            copy.close()

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open nbgrader's Gradebook on this database."""
        from nbgrader.api import Gradebook

        with Gradebook(self.db_url) as gradebook:
            yield gradebook

    def add_assignment(self, assignment: str) -> None:
        """Record the assignment, as `nbgrader generate_assignment` does first."""
        with self.opened() as gradebook:
            gradebook.update_or_create_assignment(assignment)

    def add_submission(self, assignment: str) -> None:
        """Record one student and one submission, as `nbgrader autograde` does first."""
        with self.opened() as gradebook:
            gradebook.update_or_create_student(STUDENT)
            # nbgrader builds the rows before it adds them; flushing half-way warns on each.
            with gradebook.db.no_autoflush:
                gradebook.update_or_create_submission(assignment, STUDENT)

    def resources(self, assignment: str, notebook: str) -> dict[str, Any]:
        """Return what nbgrader's preprocessors expect to be told about a notebook."""
        return {
            "unique_key": notebook,
            "output_files_dir": f"{notebook}_files",
            "metadata": {"name": notebook, "path": ""},
            "nbgrader": {
                "student": STUDENT,
                "assignment": assignment,
                "notebook": notebook,
                "db_url": self.db_url,
            },
        }
