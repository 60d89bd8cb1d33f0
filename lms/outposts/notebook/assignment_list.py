"""The back of JupyterLab's Assignment List: nbgrader's, with sentences, not tracebacks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeError, ExchangeFactory
from nbgrader.server_extensions.assignment_list.handlers import (
    AssignmentList,
    load_jupyter_server_extension,
)

from lms.outposts.notebook.client import ExchangeApi, ExchangeApiError
from lms.outposts.notebook.place import find_place
from lms.outposts.notebook.upkeep import Upkeep

#: What the extension's JavaScript reads: {"success", "value"}.
Answer = dict[str, Any]

UNEXPECTED = "Something went wrong here; the server's log says what. Your files are unchanged."


class LmsAssignmentList(AssignmentList):
    """Runs the exchange classes that nbgrader_config.py names."""

    #: What a fetch could not do; nbgrader's handler lists right after and would hide it.
    _failure: str = ""
    #: Corrects fetched assignments before they are listed.
    upkeep: Upkeep | None = None

    def list_courses(self) -> Answer:
        """Return the keys of the person's offerings."""
        place = find_place()
        return self._answer(
            lambda: [c["key"] for c in ExchangeApi(place.lms_url, place.token).list_courses()]
        )

    def list_assignments(self, course_id: str | None = None) -> Answer:
        """Return what is released, fetched and submitted, or why the last fetch failed."""
        failure, self._failure = self._failure, ""
        if failure:
            return {"success": False, "value": failure}
        answer: Answer = super().list_assignments(course_id=course_id)
        return answer

    def list_released_assignments(self, course_id: str | None = None) -> Answer:
        """Return assignments to fetch and those fetched already."""
        return self._answer(lambda: self._released(course_id or ""))

    def list_submitted_assignments(self, course_id: str | None = None) -> Answer:
        """Return the person's submissions by assignment."""
        return self._answer(lambda: self._submitted(course_id or ""))

    def fetch_assignment(self, course_id: str, assignment_id: str) -> Answer:
        """Fetch an assignment's files into the person's folder."""
        return self._act("FetchAssignment", course_id, assignment_id)

    def fetch_feedback(self, course_id: str, assignment_id: str) -> Answer:
        """Fetch the feedback of every graded attempt."""
        return self._act("FetchFeedback", course_id, assignment_id)

    def submit_assignment(self, course_id: str, assignment_id: str) -> Answer:
        """Hand in the person's folder."""
        answer = self._act("Submit", course_id, assignment_id)
        # The handler shows this one by itself.
        self._failure = ""
        return answer

    def _released(self, course_id: str) -> list[dict[str, Any]]:
        if self.upkeep is not None and course_id:
            self.upkeep.bring_course_up_to_date(course_id, self.upkeep.open_files())
        assignments: list[dict[str, Any]] = self._verb("List", course_id).start()
        for assignment in assignments:
            if assignment["status"] == "fetched":
                assignment["path"] = self._relative(assignment["path"])
                for notebook in assignment["notebooks"]:
                    notebook["path"] = self._relative(notebook["path"])
        return sorted(assignments, key=lambda found: (found["course_id"], found["assignment_id"]))

    def _submitted(self, course_id: str) -> list[dict[str, Any]]:
        lister = self._verb("List", course_id)
        lister.cached = True
        assignments: list[dict[str, Any]] = lister.start()
        for assignment in assignments:
            for submission in assignment["submissions"]:
                if submission["local_feedback_path"]:
                    submission["local_feedback_path"] = self._relative(
                        submission["local_feedback_path"]
                    )
        return assignments

    def _act(self, verb: str, course_id: str, assignment_id: str) -> Answer:
        answer = self._answer(lambda: self._verb(verb, course_id, assignment_id).start())
        self._failure = "" if answer["success"] else str(answer["value"])
        return answer

    def _verb(self, verb: str, course_id: str, assignment_id: str = "") -> Any:  # noqa: ANN401
        config = self.load_config()
        config.CourseDirectory.course_id = course_id
        config.CourseDirectory.assignment_id = assignment_id
        return getattr(ExchangeFactory(config=config), verb)(
            coursedir=CourseDirectory(config=config),
            authenticator=Authenticator(config=config),
            config=config,
        )

    def _answer(self, work: Callable[[], object]) -> Answer:
        try:
            return {"success": True, "value": work()}
        except (ExchangeError, ExchangeApiError) as error:
            self.log.error("%s", error)  # noqa: TRY400 - the sentence is the whole of it
            return {"success": False, "value": str(error)}
        except Exception:
            self.log.exception("Assignment List failed")
            return {"success": False, "value": UNEXPECTED}

    def _relative(self, path: str) -> str:
        return str(Path(path).relative_to(self.root_dir))


def install_assignment_list(server: Any, upkeep: Upkeep) -> None:  # noqa: ANN401 - untyped here
    """Add nbgrader's Assignment List to the server, with our back."""
    load_jupyter_server_extension(server)
    manager = LmsAssignmentList(parent=server)
    manager.upkeep = upkeep
    manager.root_dir = str(Path(server.root_dir).absolute())
    server.web_app.settings["assignment_list_manager"] = manager
