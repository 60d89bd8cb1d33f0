"""What gunicorn serves: the pages and the machines' doors in one application.

`gunicorn "lms.cli.wsgi:application()"`; pages and API never import each other, so they are joined
here, above both.
"""

from flask import Flask

from lms.api import bundles, health, leases, metrics, receipts, sync
from lms.api.exchange import init_exchange
from lms.api.oauth import init_oauth
from lms.bootstrap import System, build
from lms.foundation.settings import load_settings
from lms.web.app import create_app


def make_application(system: System) -> Flask:
    """Return pages and API for `system`."""
    app = create_app(system)
    app.register_blueprint(health.bp)
    app.register_blueprint(metrics.bp)
    app.register_blueprint(receipts.bp)
    app.register_blueprint(sync.bp)
    app.register_blueprint(bundles.bp)
    init_oauth(app, system.settings)
    init_exchange(app, system.settings)
    app.register_blueprint(leases.bp)
    return app


def application() -> Flask:
    """Return pages and API for the settings in the environment."""
    return make_application(build(load_settings()))
