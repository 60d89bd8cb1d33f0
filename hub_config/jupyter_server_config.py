# People's notebook servers. Which extensions load stands in jupyter_server_config.d/seodang.json:
# ours brings nbgrader's Assignment List itself, with sentences instead of tracebacks; nbgrader's
# course list belongs to formgraders run as Hub services, which there are none of here.
c = get_config()

# How long a server believes what the Hub said about a token, in seconds: the longest that a person
# whose account was disabled keeps a running server, besides the Hub's own minute.
c.HubOAuth.cache_max_age = 15
# A learner's home has no desktop with a bin.
c.FileContentsManager.delete_to_trash = False
# Formgrader stands in a frame of JupyterLab; the Hub's own rule, 'none', would leave it blank.
c.ServerApp.tornado_settings = {"headers": {"Content-Security-Policy": "frame-ancestors 'self'"}}
