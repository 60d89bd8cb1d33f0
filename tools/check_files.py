"""Looks at files before a commit: `large` refuses big ones, `outputs` notebooks that hold results.

Called by .pre-commit-config.yaml with a rule's name and the files; the exit status is 1 when one of
them breaks the rule.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_BYTES = 1 << 20
#: Fonts and pictures of pages are what they are; the lock grows with the packages.
LARGE_ON_PURPOSE = (".woff2", "requirements.lock")


def large(path: Path) -> str | None:
    """Return what is wrong with the size of `path`."""
    size = path.stat().st_size
    if size <= MAX_BYTES or path.name.endswith(LARGE_ON_PURPOSE):
        return None
    return f"has {size} bytes; at most {MAX_BYTES} are kept in the repository"


def outputs(path: Path) -> str | None:
    """Return what results the notebook `path` holds."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        return "is not a notebook"
    kept = sum(bool(cell.get("outputs") or cell.get("execution_count")) for cell in cells)
    return f"holds results in {kept} cells; clear all outputs" if kept else None


RULES: dict[str, Callable[[Path], str | None]] = {"large": large, "outputs": outputs}


def find_problems(rule: str, names: list[str]) -> Iterator[str]:
    """Yield a line for each file that breaks `rule`; links and deleted files break none."""
    for name in names:
        path = Path(name)
        if path.is_file() and not path.is_symlink():
            problem = RULES[rule](path)
            if problem is not None:
                yield f"{name} {problem}"


def main(arguments: list[str]) -> int:
    """Print the problems and return the exit status."""
    rule, *names = arguments
    problems = list(find_problems(rule, names))
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
