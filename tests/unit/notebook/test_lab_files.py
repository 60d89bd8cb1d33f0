"""Our extension of JupyterLab as it is served: nothing builds it, so nothing else checks it."""

import hashlib
import json
import re

from jupyterlab_server.config import get_page_config

from lms.outposts.notebook.gpu import LAB_DIR

EXTENSION = LAB_DIR / "seodang"
STATIC = EXTENSION / "static"


def test_browsers_fetch_the_files_again_when_they_change() -> None:
    content = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
    digest = hashlib.sha256(content).hexdigest()[:12]
    load = json.loads((EXTENSION / "package.json").read_text())["jupyterlab"]["_build"]["load"]
    # Write this address into package.json when you have changed a file.
    assert load == f"static/remoteEntry.js?v={digest}"


def test_jupyterlab_finds_the_extension() -> None:
    (found,) = get_page_config([str(LAB_DIR)])["federated_extensions"]
    assert (found["name"], found["extension"]) == ("seodang", "./extension")
    assert (EXTENSION / found["load"].partition("?")[0]).is_file()


def test_a_start_loads_little() -> None:
    assert (STATIC / "remoteEntry.js").stat().st_size < 4096


def test_both_languages_say_the_same() -> None:
    script = (STATIC / "gpu.js").read_text()
    korean, english = (_words(script, language) for language in ("ko", "en"))
    assert korean == english
    assert len(korean) > 20
    used = set(re.findall(r"words\.(\w+)", script))
    # The words for faults are looked up by their names.
    assert used | {"away", "broker"} == set(korean)


def _words(script: str, language: str) -> list[str]:
    table = script.partition(f"  {language}: {{\n")[2].partition("\n  },")[0]
    return re.findall(r"^    (\w+):", table, re.MULTILINE)


def test_nothing_is_made_from_strings_that_are_markup_and_nothing_is_asked_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        for bad in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "http://", "https://"):
            assert bad not in text, (path.name, bad)
