"""Finds out what this machine offers to sandboxes, by starting one."""

import os
import sys
import tempfile

from lms.outposts.broker import cgroups, seccomp, syscalls
from lms.outposts.broker.launcher import DirectLauncher, KernelRequest, SandboxUnavailableError
from lms.protocol.broker import SandboxReport, Verdict
from lms.protocol.sentences import Sentence, sentence

_PROBE_SECONDS = 30.0


def probe() -> SandboxReport:
    """Return what sandboxes have here; takes a tenth of a second, so keep the answer."""
    missing: list[Sentence] = []
    machine = syscalls.machine()
    has_filter = seccomp.is_supported(machine)
    if not has_filter:
        missing.append(
            sentence("System calls cannot be filtered on %(machine)s processors.", machine=machine)
        )
    problem = _try_sandbox() if has_filter else None
    if problem is not None:
        missing.append(
            sentence(
                "No sandbox can be started: %(reason)s. Run as root, or let ordinary users make "
                "user namespaces (sysctl kernel.unprivileged_userns_clone=1).",
                reason=problem,
            )
        )
    groups = cgroups.detect().version
    if groups == "none":
        missing.append(
            sentence("There are no control groups: a watchdog limits memory by looking often.")
        )
    is_root = os.geteuid() == 0
    if not is_root:
        missing.append(
            sentence("The service does not run as root: all servers share one system user.")
        )
    return SandboxReport(
        namespaces=has_filter and problem is None,
        seccomp=has_filter,
        cgroups=groups,
        own_uids=is_root,
        missing=tuple(missing),
    )


def _try_sandbox() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        request = KernelRequest(
            argv=(sys.executable, "-I", "-S", "-c", "import os; os._exit(7)"),
            connection_dir=folder,
        )
        try:
            process = DirectLauncher().launch(request)
            code = process.wait(_PROBE_SECONDS)
        except (SandboxUnavailableError, TimeoutError) as error:
            return str(error)
        if code != 7 or process.usage().verdict is not Verdict.EXITED:  # noqa: PLR2004 - its own word
            return f"a program ended with {code}"
        return None
