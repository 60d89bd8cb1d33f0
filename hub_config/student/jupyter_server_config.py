# Comes before ../jupyter_server_config.py for people who only learn.
c = get_config()

# No page of a learner's server may stand in a frame; Formgrader, which needs it, is not here.
c.ServerApp.tornado_settings = {"headers": {"Content-Security-Policy": "frame-ancestors 'none'"}}
