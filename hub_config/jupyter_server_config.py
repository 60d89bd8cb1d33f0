# People's notebook servers. Which extensions load stands in jupyter_server_config.d/seodang.json:
# ours brings nbgrader's Assignment List itself, with sentences instead of tracebacks; nbgrader's
# course list belongs to formgraders run as Hub services, which there are none of here.
from lms.outposts.environment import process_environment
from lms.outposts.notebook.gpu import LAB_DIR
from lms.outposts.notebook.packed import packed_class

c = get_config()

# How long a server believes what the Hub said about a token, in seconds: the longest that a person
# whose account was disabled keeps a running server, besides the Hub's own minute.
c.HubOAuth.cache_max_age = 15
# A learner's home has no desktop with a bin.
c.FileContentsManager.delete_to_trash = False
# Formgrader stands in a frame of JupyterLab; the Hub's own rule, 'none', would leave it blank.
c.ServerApp.tornado_settings = {
    "headers": {"Content-Security-Policy": "frame-ancestors 'self'"},
    # JupyterLab's own files travel packed, and once.
    "static_handler_class": packed_class(),
}

# Kernels are forks too, in the server's own sandbox; where the machine has no broker they start the
# stock way.
if "LMS_KERNEL_BROKER" in process_environment():
    c.KernelProvisionerFactory.default_provisioner_name = "seodang-zygote"
    # Kernels with a GPU, and what their lease has to say, under the cells.
    c.ServerApp.kernel_spec_manager_class = "lms.outposts.kernels.specs.GpuKernelSpecs"
    c.ServerApp.kernel_websocket_connection_class = (
        "lms.outposts.kernels.connection.NoticeConnection"
    )
    # What a kernel with a GPU profile got, or waits for, beside its notebook.
    c.LabServerApp.extra_labextensions_path = [str(LAB_DIR)]

# Packages and extensions are the environment's; the manager that would install them costs every
# start a tenth of a second.
c.LabApp.extension_manager = "readonly"

# Looking for language servers starts npm in every server, which costs more than all the rest of a
# start. Name those you have installed in c.LanguageServerManager.language_servers.
c.LanguageServerManager.autodetect = False
