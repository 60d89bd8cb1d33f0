"""Files that are not what they seem: paths, encodings, types and ids of every wrong kind.

All carry the wrong answer; none earns more than it, and none stops a batch.
"""

import json
from collections.abc import Callable
from typing import Any

from tests.factories.notebooks import Notebook, cell_of, plain, to_bytes

Files = dict[str, bytes]
NAME = "double.ipynb"


def _set(**values: Any) -> Callable[[Notebook], None]:  # noqa: ANN401 (any JSON)
    return lambda value: value.update(values)


def _cells(change: Callable[[dict[str, Any]], None]) -> Callable[[Notebook], None]:
    def each(value: Notebook) -> None:
        for cell in value["cells"]:
            change(cell)

    return each


def _mark(**values: object) -> Callable[[Notebook], None]:
    return _cells(lambda cell: cell["metadata"].get("nbgrader", {}).update(values))


def _tags(*tags: object) -> Callable[[Notebook], None]:
    return _cells(lambda cell: cell["metadata"].update(tags=list(tags)))


def _insert(source: str, **metadata: object) -> Callable[[Notebook], None]:
    def insert(value: Notebook) -> None:
        value["cells"].insert(0, {**plain(source), "metadata": dict(metadata), "id": "x"})

    return insert


def _own_test(value: Notebook) -> None:
    """A test of one's own, worth a lot."""
    value["cells"].append({**cell_of(value, "t_one"), "source": "pass", "id": "mine"})
    marks = {**cell_of(value, "t_one")["metadata"]["nbgrader"], "grade_id": "t_mine"}
    value["cells"][-1]["metadata"] = {"nbgrader": marks | {"points": 1000}}


def _swapped(value: Notebook) -> None:
    """Answer and test change their ids."""
    answer, test = cell_of(value, "answer"), cell_of(value, "t_one")
    answer["metadata"], test["metadata"] = test["metadata"], answer["metadata"]


def _retyped(value: Notebook) -> None:
    for cell in value["cells"]:
        cell["cell_type"] = "markdown"


#: Changes of the notebook's JSON.
CHANGED: dict[str, Callable[[Notebook], None]] = {
    "a true format": _set(nbformat=True),
    "a fractional format": _set(nbformat=4.0),
    "a huge minor": _set(nbformat_minor=10**30),
    "a negative minor": _set(nbformat_minor=-5),
    "a minor of text": _set(nbformat_minor="five"),
    "cells in an object": lambda value: value.update(cells={"0": value["cells"]}),
    "no metadata": _set(metadata=None),
    "metadata in a list": _set(metadata=[1]),
    "cells' metadata in a list": _cells(lambda cell: cell.update(metadata=["nbgrader"])),
    "nbgrader in a list": _cells(lambda cell: cell["metadata"].update(nbgrader=["grade"])),
    "numbers for sources": _cells(lambda cell: cell.update(source=5)),
    "nested sources": _cells(lambda cell: cell.update(source=[["1"], {"a": 1}, None])),
    "numbers for types": _cells(lambda cell: cell.update(cell_type=5)),
    "unknown types": _cells(lambda cell: cell.update(cell_type="heading")),
    "all text": _retyped,
    "ids of other kinds": _cells(lambda cell: cell.update(id={"a": 1})),
    "a path for an id": _mark(grade_id="../../../../etc/passwd"),
    "a template for an id": _mark(grade_id="{{ 7 * 7 }}%(cell)s{0.__class__}"),
    "markup for an id": _mark(grade_id="<script>EVIL</script>"),
    "SQL for an id": _mark(grade_id="'; DROP TABLE grade; --"),
    "a null in an id": _mark(grade_id="t_one\0"),
    "a surrogate for an id": _mark(grade_id="\ud800"),
    "points without end": _mark(points=float("inf")),
    "points of text": _mark(points="1e9"),
    "a negative schema": _mark(schema_version=-1),
    "a schema of text": _mark(schema_version="three"),
    "an own test": _own_test,
    "swapped ids": _swapped,
    "unlocked": _mark(locked=False, grade=False, solution=True),
    "raises-exception": _tags("raises-exception"),
    "tags of other kinds": _tags(5, None, ["skip-execution"], {"a": 1}),
    "a cell that ends nbgrader's": _insert("pass", nbgrader={}),
    "a kernel to choose": _insert("%%script bash\nexit 0"),
    "another language": _set(metadata={"language_info": {"name": "ruby"}}),
    "options for the kernel": _set(
        metadata={"kernelspec": {"name": "python3", "env": {"PYTHONSTARTUP": "x"}, "argv": ["sh"]}}
    ),
    "outputs without end": _cells(
        lambda cell: cell.update(outputs=[{"output_type": "stream", "text": "x"}] * 20_000)
    ),
    "five thousand cells": lambda value: value["cells"].extend(
        {**plain("0"), "id": f"n{n}"} for n in range(4_900)
    ),
    "a long source": _insert("x = '" + "x" * 4_000_000 + "'"),
    "many lines": _insert("\n".join(["0"] * 200_000)),
    "strange line ends": _insert("x = 1\r\u2028\u2029\x0b\x0c\x85y = 2\r\n"),
    "right to left": _insert("x = 1  # \u202e\u2066 evil \u2069"),
    "attachments with paths": _cells(
        lambda cell: cell.update(attachments={"../../x.sh": {"text/plain": "x"}})
    ),
}


def files_of(content: bytes) -> dict[str, Files]:
    """Return submissions whose files are odd; `content` is a notebook with the wrong answer."""
    text = content.decode()
    value: Notebook = json.loads(content)
    return {
        "a path out of the folder": {f"../{NAME}": content},
        "an absolute path": {f"/tmp/{NAME}": content, NAME: content},  # noqa: S108
        "a null in a path": {f"x\0{NAME}": content, NAME: content},
        "a surrogate in a path": {f"\udcff{NAME}": content, NAME: content},
        "a long path": {"x/" * 3000 + NAME: content, NAME: content},
        "a folder of its name": {f"{NAME}/x": content},
        "another case": {NAME.upper(): content},
        "an empty path": {"": content, NAME: content},
        "ten thousand files": {f"f{n}": b"" for n in range(10_000)} | {NAME: content},
        "the tests' data": {"numbers.txt": b"42\n", NAME: content},
        "settings": {"nbgrader_config.py": b"1/0", "ipython_config.py": b"1/0", NAME: content},
        "a startup module": {"sitecustomize.py": b"1/0", "usercustomize.py": b"1/0", NAME: content},
        "the standard library": {f"{m}.py": b"1/0" for m in ("json", "asyncio", "socket", "re")}
        | {NAME: content},
        "a package of ours": {
            "lms/__init__.py": b"1/0",
            "IPython/__init__.py": b"1/0",
            NAME: content,
        },
        "a byte order mark": {NAME: b"\xef\xbb\xbf" + content},
        "UTF-16": {NAME: text.encode("utf-16")},
        "Latin-1": {NAME: content.replace(b"def", b"# \xe9\ndef", 1)},
        "two notebooks in one": {NAME: content + content},
        "keys twice": {NAME: content.rstrip()[:-1] + b', "cells": []}'},
        "numbers that are none": {NAME: to_bytes({**value, "x": float("nan")})},
        "a zip": {NAME: b"PK\x03\x04" + content},
        "a gzip": {NAME: b"\x1f\x8b" + content},
        "an HTML page": {NAME: b"<html>" + content + b"</html>"},
        "only white space": {NAME: b" \n" * 1000},
        "a number": {NAME: b"1e999"},
        "a string": {NAME: b'"' + b"x" * 1000 + b'"'},
        "half a character": {NAME: content[:-20] + b"\xed\xa0"},
    }
