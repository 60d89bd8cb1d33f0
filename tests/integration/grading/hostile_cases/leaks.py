"""Ways to carry a hidden test out of a run: as it is, and changed so that nobody finds it.

The hidden test holds MARK; feedback and result must hold it in no form.
"""

# Programs stand here as literals.
# ruff: noqa: E501

import base64
import codecs

MARK = "HUNTER2"

_CALLER = (
    "import linecache, sys\n"
    "def hidden():\n"
    "    frame, text = sys._getframe(1), ''\n"
    "    while frame:\n"
    "        text += ''.join(linecache.getlines(frame.f_code.co_filename))\n"
    "        frame = frame.f_back\n"
    "    return text\n"
)

#: As it is: (answer, own cell at the end).
PLAIN: dict[str, tuple[str, str]] = {
    "the history": ("def double(x):\n    return x", "print('\\n'.join(In))"),
    "the last inputs": ("def double(x):\n    return x", "display(_i, _ii, _iii, _ih)"),
    "the history magic": ("def double(x):\n    return x", "%history"),
    "the line cache": (
        "def double(x):\n    return x",
        "import linecache\nfor entry in linecache.cache.values():\n    print(entry)",
    ),
    "the stack in a test": (
        "import traceback\ndef double(x):\n    traceback.print_stack()\n    return 2 * x",
        "",
    ),
    "the source in a test": (_CALLER + "def double(x):\n    print(hidden())\n    return 2 * x", ""),
    "an error in a test": (
        _CALLER + "def double(x):\n    raise ValueError(hidden())",
        "",
    ),
    "a value in a test": (_CALLER + "def double(x):\n    display(hidden())\n    return 2 * x", ""),
    "an error later": (
        "def double(x):\n    return x",
        "raise RuntimeError('\\n'.join(In))",
    ),
    "a page": (
        "def double(x):\n    return x",
        "from IPython.display import HTML\nHTML('<pre>' + '\\n'.join(In) + '</pre>')",
    ),
}

#: How a text looks after it was changed, and the code that changes it.
_CHANGED = {
    "base64": ("__import__('base64').b64encode(t.encode()).decode()", None),
    "backwards": ("t[::-1]", MARK[::-1]),
    "in hex": ("t.encode().hex()", MARK.encode().hex()),
    "rot13": ("__import__('codecs').encode(t, 'rot13')", codecs.encode(MARK, "rot13")),
    "letters apart": ("'.'.join(t)", ".".join(MARK)),
    "a word a line": ("chr(10).join(t.split())", MARK),
    "as numbers": ("str([ord(c) for c in t])", str([ord(c) for c in MARK])[1:-1]),
}

#: Changed, so that nobody who looks for the text finds it, in an own cell behind the tests or in the tests themselves: (answer, cell, needle).
CODED: dict[str, tuple[str, str, str]] = {}
for _name, (_code, _needle) in _CHANGED.items():
    _seen = _needle or ""
    CODED[f"{_name}, later"] = (
        "def double(x):\n    return x",
        f"t = [s for s in In if 'HUNT' + 'ER' in s][-2:]\nt = t[0] if t else ''\nprint({_code})",
        _seen,
    )
    CODED[f"{_name}, in a test"] = (
        _CALLER + f"def double(x):\n    t = hidden()\n    print({_code})\n    return 2 * x",
        "",
        _seen,
    )


_FIND = "t = [s for s in In if 'HUNT' + 'ER' in s][-2:]\nt = t[0] if t else ''\n"
#: Beside texts: what a picture, a table, an update of an earlier output or an error's name can say.
_CARRIERS = {
    "a picture's colours": (
        """from IPython.display import SVG
at = t.find('HUNT')
dot = '<rect width="1" height="1" fill="#{:06x}"/>'
dots = ''.join(dot.format(ord(c)) for c in t[at:at + 7])
SVG('<svg xmlns="http://www.w3.org/2000/svg">' + dots + '</svg>')""",
        f"#{ord('H'):06x}",
    ),
    "the lengths of lines": (
        "at = t.find('HUNT')\nprint(*['~' * ord(c) for c in t[at:at + 7]], sep='\\n')",
        "~" * 72,
    ),
    "an error's name": (
        "raise type('E' + t.encode().hex(), (Exception,), {})",
        MARK.encode().hex(),
    ),
    "an error's text": ("raise ValueError(t[::-1])", MARK[::-1]),
    "the count of cells": ("get_ipython().execution_count = 7_000_000 + len(t)\n1", "70001"),
}
for _name, (_code, _needle) in _CARRIERS.items():
    CODED[f"{_name}, later"] = ("def double(x):\n    return x", _FIND + _code, _needle)
CODED["an earlier picture, later"] = (
    "shown = display('nothing', display_id=True)\ndef double(x):\n    return x",
    _FIND + "shown.update(t[::-1])",
    MARK[::-1],
)
CODED["the arguments of a test, later"] = (
    "seen = []\ndef double(x):\n    seen.append(x)\n    return 2 * x",
    "print('seen', *[f'<{x}>'[::-1] for x in seen])",
    "&gt;12&lt;",
)


def finds(page: str, needle: str) -> bool:
    """Say whether a page holds the mark, or what it looks like after a change."""
    if needle:
        return needle in page
    # Base64 shows one of three faces, by where the mark lies.
    faces = [base64.b64encode(b"x" * n + MARK.encode())[n + 2 : -4].decode() for n in range(3)]
    return any(len(face) >= 6 and face in page for face in faces)
