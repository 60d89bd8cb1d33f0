"""Unpacking pinned wheels into a folder: by uv, or by pip where there is no uv."""

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lms.outposts.environment import process_environment
from lms.outposts.environments.requirements import Requirements
from lms.protocol.sentences import Sentence, sentence

_LOOK_SECONDS = 0.2
_SHOWN = 300
#: What would make another interpreter or folder of the installer's than we say.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER")
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|[╰─▶├│×]+")


class InstallError(Exception):
    """The packages could not be installed; the sentence says which, and why."""

    def __init__(self, problem: Sentence) -> None:
        super().__init__(str(problem))
        self.sentence = problem


def install(
    requirements: Requirements,
    file: Path,
    target: Path,
    wheels: Path | None,
    on_installed: Callable[[int], None],
) -> None:
    """Install the requirements in `file` into the folder `target`; raises InstallError.

    With `wheels` no index is asked. Only wheels are taken: no package runs code of its own here.
    `on_installed` hears how many packages lie there.
    """
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels.absolute())]
    common = ["--target", str(target), "--require-hashes", "--no-deps", *source, "-r", str(file)]
    env = {name: text for name, text in process_environment().items() if name not in _FOREIGN}
    log = target.with_name("install.log")
    with log.open("wb") as output:
        running = subprocess.Popen(
            [*_installer(), *common],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=target,
        )
        try:
            while running.poll() is None:
                time.sleep(_LOOK_SECONDS)
                on_installed(sum(1 for _ in target.glob("*.dist-info")))
        finally:
            running.kill()
            running.wait()
    said = log.read_text(errors="replace")
    log.unlink()
    if running.returncode:
        raise InstallError(_reason(requirements, said))
    (target / ".lock").unlink(missing_ok=True)  # uv's own


def _installer() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is not None:
        # Copies, not links into a cache that others can write to.
        options = ["--only-binary", ":all:", "--link-mode", "copy", "--no-config", "--no-progress"]
        return [uv, "pip", "install", "--python", sys.executable, *options]
    if importlib.util.find_spec("pip") is not None:
        options = ["--only-binary", ":all:", "--no-compile", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *options]
    raise InstallError(
        sentence("There is neither uv nor pip to install packages with; install uv.")
    )


def _reason(requirements: Requirements, said: str) -> Sentence:
    """Put what an installer wrote into one sentence that names the package."""
    text = " ".join(_DECORATION.sub(" ", said).split())
    start = max(text.lower().find("error"), 0)
    text = text[start:] or "it said nothing"
    named = next(
        (
            one
            for one in requirements.here()
            if re.search(rf"\b{re.escape(one.name).replace('-', '[-_.]')}\b", text, re.IGNORECASE)
        ),
        None,
    )
    if named is None:
        return sentence("The packages cannot be installed: %(problem)s", problem=text[:_SHOWN])
    return sentence(
        "%(package)s %(version)s cannot be installed: %(problem)s",
        package=named.name,
        version=named.version,
        problem=text[:_SHOWN],
    )
