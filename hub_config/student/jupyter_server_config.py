# Comes before ../jupyter_server_config.py for people who only learn.
from lms.outposts.notebook.packed import packed_class

c = get_config()

# No page of a learner's server may stand in a frame; Formgrader, which needs it, is not here.
c.ServerApp.tornado_settings = {
    "headers": {"Content-Security-Policy": "frame-ancestors 'none'"},
    # JupyterLab's own files travel packed, and once.
    "static_handler_class": packed_class(),
}
