"""The kernelspec of an environment, for any Jupyter that runs with our Python."""

import sys
from pathlib import Path
from typing import Any

from lms.outposts.environments.folder import Built

_SHOWN = 3


def kernelspec(built: Built, packages: Path) -> dict[str, Any]:
    """Return what stands in kernel.json: stock ipykernel with the packages before ours.

    The provisioner finds the environment's id in the metadata and forks from the zygote of it.
    """
    return {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python 3 ({_named(built)})",
        "language": "python",
        "env": {"PYTHONPATH": str(packages)},
        "metadata": {"debugger": True, "seodang": {"environment": built.environment}},
    }


def _named(built: Built) -> str:
    first = [one.replace("==", " ") for one in built.packages[:_SHOWN]]
    return ", ".join(first) + (" …" if len(built.packages) > _SHOWN else "")
