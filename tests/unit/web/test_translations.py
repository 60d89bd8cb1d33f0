"""Every text has a Korean form; the compiled catalogue is the written one; fonts fit."""

import io
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "lms" / "web" / "translations"
PO = FOLDER / "ko" / "LC_MESSAGES" / "messages.po"
#: Names of functions that take a message; `sentence` keeps it for a door to say.
KEYWORDS = DEFAULT_KEYWORDS | {"sentence": None}
#: English that Korean may repeat: names and pure formats.
SAME = re.compile(r"(?:%\(\w+\)s|[\s:.,()]|CPU|GPU)+")


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The messages in lms/ and templates/; a plural counts by its singular."""
    with (FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found: set[str] = set()
    for folder in ("lms", "templates"):
        prefixed = [(pattern.removeprefix(f"{folder}/"), method) for pattern, method in methods]
        settings = {p.removeprefix(f"{folder}/"): o for p, o in options.items()}
        for _file, _line, message, _comments, _context in extract_from_dir(
            ROOT / folder, prefixed, settings, KEYWORDS
        ):
            found.add(message if isinstance(message, str) else message[0])
    return found


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, locale="ko")


def string_of(message: Message) -> str:
    """Return the Korean text, whose one form serves every number."""
    string = message.string
    return string if isinstance(string, str) else (string or ("",))[0]


def texts(catalogue: Catalog) -> dict[str, str]:
    """Return the Korean texts by English; a plural by its singular."""
    return {
        message.id if isinstance(message.id, str) else message.id[0]: string_of(message)
        for message in catalogue
        if message.id
    }


def test_extraction_finds_messages_of_every_kind(used: set[str]) -> None:
    assert "Skip to content" in used
    assert "Due today, %(time)s" in used
    assert "You are not enrolled in this course. Enrol first, then submit." in used
    assert "%(num)s question" in used


def test_every_message_has_a_korean_text(used: set[str], catalogue: Catalog) -> None:
    korean = texts(catalogue)
    assert sorted(message for message in used if not korean.get(message)) == []


def test_no_translation_is_left_over(used: set[str], catalogue: Catalog) -> None:
    assert sorted(set(texts(catalogue)) - used - UNSEEN) == []


#: Messages that are handed on through a parameter, so that extraction cannot see them.
UNSEEN = {
    "The database does not answer: %(why)s. Look at its log and its disk.",
    "Nothing can be stored: %(why)s. Free some disk space.",
    "JupyterHub does not answer: see hub.log and proxy.log. %(why)s",
}


def test_no_message_is_fuzzy(catalogue: Catalog) -> None:
    assert [message.id for message in catalogue if message.fuzzy and message.id] == []


def test_korean_texts_take_the_same_facts(catalogue: Catalog) -> None:
    for message in catalogue:
        if not message.id:
            continue
        forms = [message.id] if isinstance(message.id, str) else list(message.id)
        wanted = set().union(*(re.findall(r"%\((\w+)\)s", form) for form in forms))
        string = string_of(message)
        assert set(re.findall(r"%\((\w+)\)s", string)) <= wanted, message.id


def test_korean_texts_are_korean_and_calm(catalogue: Catalog) -> None:
    for english, korean in texts(catalogue).items():
        assert re.search("[가-힣]", korean) or SAME.fullmatch(korean), english
        assert "!" not in korean, english
        assert "성공적" not in korean, english


def test_english_texts_are_calm(used: set[str]) -> None:
    for message in used:
        assert "!" not in message
        assert "successfully" not in message.lower()
        assert "oops" not in message.lower()


def test_the_compiled_catalogue_is_the_written_one(catalogue: Catalog) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    assert PO.with_suffix(".mo").read_bytes() == compiled.getvalue(), "run tools/messages.py"


def test_the_fonts_have_every_letter_and_the_first_slice_nearly_all(catalogue: Catalog) -> None:
    css = (ROOT / "lms/web/static/fonts.css").read_text("utf-8")
    slices = [
        points_of(ranges) for ranges in re.findall(r"seodang-sans[^}]*unicode-range: ([^;]+);", css)
    ]
    letters = {ord(letter) for text in texts(catalogue).values() for letter in text} - {ord("\n")}
    assert letters - set().union(*slices) == set()
    assert len(letters - slices[0]) < 0.03 * len(letters), "run tools/cut_fonts.py"


def points_of(ranges: str) -> set[int]:
    """Return the code points of a CSS unicode-range."""
    points: set[int] = set()
    for span in ranges.split(","):
        first, _, last = span.strip().removeprefix("U+").partition("-")
        points |= set(range(int(first, 16), int(last or first, 16) + 1))
    return points
