"""A student's verbs: fetch an assignment, submit it, fetch its feedback."""

import json

from nbgrader.exchange import abc

from lms.outposts.notebook.corrections import Corrections
from lms.outposts.notebook.exchange import Exchange
from lms.outposts.notebook.folders import fill_folder, find_notebooks, read_folder


class ExchangeFetchAssignment(Exchange, abc.ExchangeFetchAssignment):
    """Puts an assignment's missing files into the person's folder, and corrections into a copy."""

    def copy_files(self) -> None:
        """Fetch."""
        offering, assignment = self.require_assignment()
        folder = self.folder(offering, assignment)
        release = self.api.fetch_release(offering, assignment)
        corrections = Corrections(self.place.home, lambda: self.api)
        if folder.is_dir():
            corrected = corrections.bring_up_to_date(folder, release.digest)
            if corrected:
                self.log.info("Corrected %s %s: %s", offering, assignment, ", ".join(corrected))
            elif not self.replace_missing_files:
                self.fail(f"You already have a copy of the assignment in {folder}.")
        else:
            corrections.remember(folder, release.digest)
        written = fill_folder(folder, release.files)
        self.log.info("Fetched %s %s: %d files written", offering, assignment, len(written))


class ExchangeSubmit(Exchange, abc.ExchangeSubmit):
    """Hands in the person's folder; who and when is the LMS's to say."""

    def copy_files(self) -> None:
        """Submit, and keep the receipt in ~/receipts."""
        offering, assignment = self.require_assignment()
        folder = self.folder(offering, assignment)
        if not folder.is_dir():
            self.fail(f"There is no folder {folder}; fetch the assignment first.")
        files = read_folder(folder)
        self._check_notebooks(offering, assignment, files)
        receipt = self.api.submit(offering, assignment, files)
        self._keep(offering, assignment, receipt)
        self.log.info(
            "Submitted as attempt %s of %s %s at %s (%s)",
            receipt["attempt"],
            offering,
            assignment,
            receipt["submitted_at"],
            receipt["digest"],
        )

    def _check_notebooks(self, offering: str, assignment: str, files: dict[str, bytes]) -> None:
        released = next(
            (a for a in self.api.list_assignments(offering) if a["name"] == assignment), None
        )
        expected = released["notebooks"] if released else []
        missing = sorted(set(expected) - set(find_notebooks(files)))
        if not missing:
            return
        names = ", ".join(f"{name}.ipynb" for name in missing)
        if self.strict:
            self.fail(f"Not submitted: {names} is missing in the folder.")
        self.log.warning("Submitting without %s", names)

    def _keep(self, offering: str, assignment: str, receipt: dict[str, object]) -> None:
        folder = self.place.home / "receipts" / offering
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{assignment}-{receipt['attempt']}.json"
        path.write_text(json.dumps(receipt, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


class ExchangeFetchFeedback(Exchange, abc.ExchangeFetchFeedback):
    """Puts the feedback of every graded attempt beside the assignment, by time of submission."""

    def copy_files(self) -> None:
        """Fetch."""
        offering, assignment = self.require_assignment()
        for listed in self.api.list_assignments(offering):
            if listed["name"] != assignment:
                continue
            for submission in listed["submissions"]:
                if submission["feedback"]:
                    self._fetch(offering, assignment, submission)

    def _fetch(self, offering: str, assignment: str, submission: dict[str, object]) -> None:
        attempt = int(str(submission["attempt"]))
        pages = self.api.fetch_feedback(offering, assignment, attempt)
        timestamp = self.stamp(str(submission["submitted_at"]))
        folder = self.folder(offering, assignment) / "feedback" / timestamp
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            # Feedback is the LMS's, not the person's work: a newer one replaces it.
            (folder / name).write_bytes(page)
        self.log.info("Fetched feedback for %s %s attempt %d", offering, assignment, attempt)
