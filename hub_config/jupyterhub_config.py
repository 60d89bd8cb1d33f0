# JupyterHub's configuration. What each setting is and why stands in lms/outposts/hub/config.py;
# add your own lines at the end, they win.
from pathlib import Path

from lms.outposts.hub.config import configure

here = Path(__file__).resolve().parent
configure(get_config(), here, here.parent / "templates" / "hub")
