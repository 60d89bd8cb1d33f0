"""How a sandbox comes to see an environment: its folder, read-only, before ours on the path."""

from pathlib import Path

from lms.outposts.broker.spec import Bind, Spec


def with_packages(spec: Spec, packages: Path) -> None:
    """Let the program of `spec` find the packages in that folder before everything but itself."""
    folder = str(packages)
    spec["env"] = path_variables(packages, spec["env"])
    spec["binds"] = [*spec["binds"], Bind(path=folder, writable=False, optional=False)]


def path_variables(packages: Path, env: dict[str, str]) -> dict[str, str]:
    """Return the variables of `env`, changed so that Python and its programs use `packages`.

    By PYTHONPATH no `.pth` file of a package is run, by nobody's interpreter.
    """
    search = f"{packages}/bin:{env['PATH']}" if env.get("PATH") else f"{packages}/bin"
    return {**env, "PATH": search, "PYTHONPATH": str(packages)}
