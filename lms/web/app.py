"""The Flask application factory: joins blueprints, database, languages and error pages."""

from pathlib import Path

from flask import Flask
from jinja2 import StrictUndefined

from lms.bootstrap import System
from lms.foundation.resources import resource_dir
from lms.web import account, admin, compute_board, compute_quotas, status
from lms.web.access import init_access
from lms.web.centre import central as centres
from lms.web.centre import own as own_centre
from lms.web.chrome import init_chrome
from lms.web.database import init_database
from lms.web.dates import init_dates
from lms.web.errors import init_errors
from lms.web.i18n import init_languages
from lms.web.icons import init_icons
from lms.web.instructor import corrections, holds, hours, seats
from lms.web.instructor import offerings as teaching
from lms.web.instructor import submissions as marking
from lms.web.student import (
    assignments,
    catalogue,
    compute,
    courses,
    grades,
    home,
    offerings,
    programmes,
    submissions,
    units,
)

_STUDENT = (
    home,
    catalogue,
    programmes,
    courses,
    offerings,
    units,
    assignments,
    submissions,
    grades,
    compute,
)
_CENTRE = (own_centre, centres)
_INSTRUCTOR = (teaching, marking, holds, corrections, seats, hours)


def create_app(system: System) -> Flask:
    """Return the web application for `system`."""
    app = Flask(
        "lms.web",
        template_folder=str(resource_dir("templates")),
        static_folder=str(Path(__file__).parent / "static"),
    )
    app.jinja_env.undefined = StrictUndefined
    app.extensions["lms_system"] = system
    app.config.update(
        MAX_CONTENT_LENGTH=system.settings.max_upload_bytes,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_NAME="seodang",
    )
    init_database(app, system.settings.database, system.bus)
    _init_pages(app)
    _init_identity(app, system)
    for page in (*_STUDENT, *_INSTRUCTOR, *_CENTRE, compute_board, compute_quotas, status):
        app.register_blueprint(page.bp)
    return app


def _init_pages(app: Flask) -> None:
    """Give the templates their words, dates, icons and frame, and errors their pages."""
    init_languages(app)
    init_dates(app)
    init_icons(app)
    init_chrome(app)
    init_errors(app)


def _init_identity(app: Flask, system: System) -> None:
    """Guard every request, and add the pages of accounts."""
    init_access(app, system.settings)
    app.register_blueprint(account.bp)
    app.register_blueprint(admin.bp)
