"""What all our exchange classes share: the API, the folders, and failing with one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbgrader.exchange import abc

from lms.outposts.notebook.client import ExchangeApi, ExchangeApiError
from lms.outposts.notebook.folders import FolderError
from lms.outposts.notebook.place import NotebookPlace, find_place


class Exchange(abc.Exchange):
    """nbgrader's exchange without a shared directory: the LMS is asked instead."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.place: NotebookPlace = find_place()
        self.api = ExchangeApi(self.place.lms_url, self.place.token)

    def init_src(self) -> None:
        """Check that a course is named; what comes from where is up to each verb."""

    def init_dest(self) -> None:
        """See init_src."""

    def start(self) -> Any:  # noqa: ANN401 - nbgrader's signature
        """Run the verb; raises ExchangeError with one sentence."""
        with self.failing():
            return super().start()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn the errors of API, folders and disk into nbgrader's."""
        try:
            yield
        except (ExchangeApiError, FolderError) as error:
            self.fail(str(error))
        except OSError as error:
            self.fail(
                f"{error.filename or 'A file'} could not be used ({error.strerror}). "
                "Make room or check the folder, then try again."
            )

    def require_assignment(self) -> tuple[str, str]:
        """Return offering and assignment; raises ExchangeError when either is not named."""
        offering, assignment = self.coursedir.course_id, self.coursedir.assignment_id
        if not offering:
            self.fail("Name the course with --course.")
        if not assignment:
            self.fail("Name the assignment.")
        return offering, assignment

    def folder(self, offering: str, assignment: str) -> Path:
        """Return where the person's copy of an assignment lies."""
        return Path(self.assignment_dir).expanduser().absolute() / offering / assignment

    def stamp(self, instant: str) -> str:
        """Return an instant of the API in nbgrader's format of timestamps."""
        at = datetime.fromisoformat(instant).astimezone(UTC)
        return at.strftime(self.timestamp_format)
