"""Finding the files a notebook reads by name."""

import pytest

from lms.outposts.runner.reading import FileUse, file_uses, missing_files
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from tests.factories.notebooks import notebook, plain, to_bytes


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open('a.txt')", [FileUse("a.txt", is_written=False)]),
        (
            "with open('a.txt', 'r', encoding='utf-8') as f: pass",
            [FileUse("a.txt", is_written=False)],
        ),
        ("open('a.txt', 'w')", [FileUse("a.txt", is_written=True)]),
        ("open('a.txt', mode='ab')", [FileUse("a.txt", is_written=True)]),
        ("pd.read_csv('d/a.csv', sep=';')", [FileUse("d/a.csv", is_written=False)]),
        ("np.loadtxt('a.txt')", [FileUse("a.txt", is_written=False)]),
        ("np.load('a.npy')", [FileUse("a.npy", is_written=False)]),
        ("np.save('a.npy', x)", [FileUse("a.npy", is_written=True)]),
        ("df.to_csv('a.csv')", [FileUse("a.csv", is_written=True)]),
        ("Path('a.txt').read_text()", [FileUse("a.txt", is_written=False)]),
        ("pathlib.Path('a.txt').write_text('x')", [FileUse("a.txt", is_written=True)]),
        ("Path('a.txt').open('w')", [FileUse("a.txt", is_written=True)]),
        ("json.load(f)\npickle.load('x')", []),
        ("open(name)\nopen()\nprint('a.txt')", []),
        ("%matplotlib inline\nopen('a.txt')", [FileUse("a.txt", is_written=False)]),
        ("!cat b.txt\n%%bash", []),
        ("%%bash\nopen('a.txt')", []),
        ("def broken(:", []),
        ("x = 1\0", []),
    ],
)
def test_files_are_found_in_code(source: str, expected: list[FileUse]) -> None:
    assert file_uses(source) == expected


def test_a_file_is_missing_unless_it_is_there_or_made_before() -> None:
    value = notebook(
        plain("open('there.txt')\nopen('./d/there.txt')\nopen('d')"),
        plain("open('made.txt', 'w')\nopen('made.txt')"),
        plain("open('https://x/y')\nopen('/etc/passwd')\nopen('~/x')\nopen('')"),
        plain("open('gone.txt')\nopen('gone.txt')"),
        plain("open('not code.txt')", "markdown"),
    )
    files = {"n.ipynb": to_bytes(value)}
    node = build(AssignmentSource(name="p", files=files)).released["n"]
    assert missing_files(node, ["there.txt", "d/there.txt"]) == ["gone.txt"]
