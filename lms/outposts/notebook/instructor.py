"""An instructor's verbs: release an assignment, collect what was handed in."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from nbgrader.exchange import abc

from lms.outposts.notebook.exchange import Exchange
from lms.outposts.notebook.folders import fill_folder, read_folder

#: A submission as the LMS lists it.
Received = dict[str, Any]


class ExchangeReleaseAssignment(Exchange, abc.ExchangeReleaseAssignment):
    """Publishes source/<assignment>; the LMS makes the student version itself."""

    def copy_files(self) -> None:
        """Release."""
        offering, assignment = self.require_assignment()
        source = Path(self.coursedir.format_path(self.coursedir.source_directory, ".", assignment))
        if not source.is_dir():
            self.fail(f"There is no folder {source}; run this in the course's folder.")
        release = self.api.publish_release(offering, assignment, read_folder(source))
        self.log.info(
            "Released %s %s as number %s (%s)",
            offering,
            assignment,
            release["number"],
            release["digest"],
        )


class ExchangeReleaseFeedback(Exchange, abc.ExchangeReleaseFeedback):
    """Has nothing to do: the LMS gives feedback as soon as a submission is graded."""

    def copy_files(self) -> None:
        """Say so."""
        self.log.info("Feedback is given by the LMS as soon as a submission is graded.")


class ExchangeCollect(Exchange, abc.ExchangeCollect):
    """Puts each student's last submission into submitted/<student>/<assignment>."""

    def copy_files(self) -> None:
        """Collect."""
        offering, assignment = self.require_assignment()
        by_student: dict[str, list[Received]] = defaultdict(list)
        for submission in self.api.list_received(offering, assignment):
            by_student[submission["student"]].append(submission)
        if not by_student:
            self.log.warning("Nothing was handed in for %s %s", offering, assignment)
        wanted = self.coursedir.student_id or "*"
        for student, submissions in sorted(by_student.items()):
            if wanted in {"*", student}:
                self._collect(offering, assignment, student, self._choose(submissions))

    def _choose(self, submissions: list[Received]) -> Received:
        ordered = sorted(submissions, key=lambda submission: int(submission["attempt"]))
        if self.before_duedate:
            in_time = [submission for submission in ordered if not submission["late"]]
            return (in_time or ordered)[-1]
        return ordered[-1]

    def _collect(self, offering: str, assignment: str, student: str, chosen: Received) -> None:
        folder = Path(
            self.coursedir.format_path(self.coursedir.submitted_directory, student, assignment)
        )
        timestamp = self.stamp(chosen["submitted_at"])
        if folder.is_dir():
            same = (folder / "timestamp.txt").is_file() and (
                (folder / "timestamp.txt").read_text(encoding="utf-8") == timestamp
            )
            if same or not (self.update or self.before_duedate):
                self.log.info("Kept what was collected of %s %s", student, assignment)
                return
        files = self.api.fetch_submission(offering, assignment, int(chosen["id"]))
        shutil.rmtree(folder, ignore_errors=True)
        fill_folder(folder, files)
        # nbgrader reads the time of submission from this file.
        (folder / "timestamp.txt").write_text(timestamp, encoding="utf-8")
        self.log.info("Collected %s %s", student, assignment)
