"""`nbgrader list` and the lists of JupyterLab's Assignment List, from the LMS."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from nbgrader.exchange import abc

from lms.outposts.notebook.exchange import Exchange
from lms.outposts.notebook.folders import find_notebooks

#: An assignment or submission in nbgrader's shape.
Info = dict[str, Any]


class ExchangeList(Exchange, abc.ExchangeList):
    """Lists what is released and fetched; with `cached` what the person handed in."""

    def copy_files(self) -> None:
        """Do nothing: a list copies no files."""

    def start(self) -> list[Info]:
        """Return the list that the options ask for."""
        with self.failing():
            if self.inbound and self.cached:
                self.fail("Options --inbound and --cached are incompatible.")
            if self.remove:
                self.fail("What was handed in is kept by the LMS and cannot be removed.")
            return self.list_files()

    def list_files(self) -> list[Info]:
        """Return assignments in the shape that nbgrader's tools expect, and log one line each."""
        found = [info for offering in self._offerings() for info in self._list(offering)]
        for info in found:
            self.log.info("%s %s %s", info["course_id"], info["assignment_id"], info["status"])
        return found

    def remove_files(self) -> list[Info]:
        """Refuse."""
        return self.start()

    def _offerings(self) -> list[str]:
        named = self.coursedir.course_id
        return [named] if named else [course["key"] for course in self.api.list_courses()]

    def _list(self, offering: str) -> list[Info]:
        wanted = self.coursedir.assignment_id
        assignments = [
            assignment
            for assignment in self.api.list_assignments(offering)
            if not wanted or assignment["name"] == wanted
        ]
        if self.inbound:
            return [info for a in assignments for info in self._received(offering, a)]
        if self.cached:
            return [self._submitted(offering, a) for a in assignments if a["submissions"]]
        return [self._released(offering, a) for a in assignments if a["release"]]

    def _released(self, offering: str, assignment: Info) -> Info:
        folder = self.folder(offering, assignment["name"])
        fetched = folder.is_dir()
        names = find_notebooks(p.name for p in folder.iterdir()) if fetched else []
        return {
            "course_id": offering,
            "assignment_id": assignment["name"],
            "status": "fetched" if fetched else "released",
            "path": str(folder),
            "notebooks": [
                {"notebook_id": name, "path": str(folder / f"{name}.ipynb")}
                for name in names or assignment["notebooks"]
            ],
        }

    def _submitted(self, offering: str, assignment: Info) -> Info:
        submissions = [
            self._submission(offering, assignment, submission)
            for submission in assignment["submissions"]
        ]
        return {
            "course_id": offering,
            "student_id": self.place.username,
            "assignment_id": assignment["name"],
            "status": "submitted",
            "submissions": sorted(submissions, key=lambda info: str(info["timestamp"])),
        }

    def _submission(self, offering: str, assignment: Info, submission: Info) -> Info:
        folder = self.folder(offering, assignment["name"])
        timestamp = self.stamp(submission["submitted_at"])
        local = folder / "feedback" / timestamp
        notebooks = [
            _notebook(folder, local, name, submission["feedback"].get(name))
            for name in assignment["notebooks"]
        ]
        has_local = bool(notebooks) and all(n["has_local_feedback"] for n in notebooks)
        return {
            "course_id": offering,
            "student_id": self.place.username,
            "assignment_id": assignment["name"],
            "timestamp": timestamp,
            "status": "submitted",
            "path": str(folder),
            "notebooks": notebooks,
            "has_local_feedback": has_local,
            "has_exchange_feedback": bool(notebooks)
            and all(n["has_exchange_feedback"] for n in notebooks),
            "feedback_updated": any(n["feedback_updated"] for n in notebooks),
            "local_feedback_path": str(local) if has_local else None,
        }

    def _received(self, offering: str, assignment: Info) -> list[Info]:
        by_student: dict[str, list[Info]] = defaultdict(list)
        for submission in self.api.list_received(offering, assignment["name"]):
            by_student[submission["student"]].append(submission)
        return [
            {
                "course_id": offering,
                "student_id": student,
                "assignment_id": assignment["name"],
                "status": "submitted",
                "submissions": [
                    {
                        "course_id": offering,
                        "student_id": student,
                        "assignment_id": assignment["name"],
                        "timestamp": self.stamp(submission["submitted_at"]),
                        "status": "submitted",
                        "path": "",
                        "notebooks": [],
                        "has_local_feedback": False,
                        "has_exchange_feedback": False,
                        "feedback_updated": False,
                        "local_feedback_path": None,
                    }
                    for submission in submissions
                ],
            }
            for student, submissions in sorted(by_student.items())
        ]


def _notebook(folder: Path, local: Path, name: str, digest: str | None) -> Info:
    page = local / f"{name}.html"
    has_local = page.is_file()
    return {
        "notebook_id": name,
        "path": str(folder / f"{name}.ipynb"),
        "has_local_feedback": has_local,
        "has_exchange_feedback": digest is not None,
        "local_feedback_path": str(page) if has_local else None,
        "feedback_updated": has_local and digest is not None and digest != _digest(page),
    }


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
