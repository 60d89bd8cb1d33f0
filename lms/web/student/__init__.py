"""Journey 1: find a course, enrol, open its notebook, submit, read score and feedback."""

from flask import Flask


def init_student(app: Flask) -> None:
    """Add the pages of the student's journey."""
    from lms.web.student import catalogue, courses, home, programmes

    for module in (home, catalogue, programmes, courses):
        app.register_blueprint(module.bp)
