"""The Flask application factory: joins blueprints, database, languages and error pages."""

from pathlib import Path

from flask import Flask
from jinja2 import StrictUndefined

from lms.bootstrap import System
from lms.foundation.resources import resource_dir
from lms.web.database import init_database


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
    return app
