"""Cut the web fonts: first the words of the pages, then what courses use, then KS X 1001.

    python tools/cut_fonts.py --sans PretendardVariable.woff2 --mono d2coding-full.ttf
        --maths STIXMath-Regular.otf

Needs fonttools and brotli (`pip install fonttools brotli`) and the fonts as published: npm's
`pretendard` and `d2coding`, Debian's `fonts-stix`; all under the SIL Open Font License. Their names
are reserved: what we cut is a modified version and carries another name. Writes the slices and
fonts.css.
"""

import argparse
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

ROOT = Path(__file__).resolve().parent.parent
FONTS = ROOT / "lms" / "web" / "static" / "fonts"
#: ASCII, Latin-1, Latin Extended-A, punctuation, arrows, mathematics, box drawing.
PLAIN = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x180),
    *range(0x2010, 0x2040),
    *range(0x2190, 0x2194),
    0x2212,
    0x00D7,
    0x2026,
    0x20A9,
    0x3001,
    0x3002,
    *range(0x300C, 0x3010),
]
#: What formulas use: Greek, operators, arrows, fences, italic, bold and double-struck letters.
MATHS = [
    *PLAIN,
    *range(0x0300, 0x0316),
    0x0338,
    *range(0x0370, 0x0400),
    *range(0x2032, 0x2038),
    0x2061,
    0x2062,
    0x2063,
    *range(0x20D0, 0x20D8),
    *range(0x2100, 0x2150),
    *range(0x2190, 0x2300),
    *range(0x2308, 0x230C),
    *range(0x23B4, 0x23E1),
    *range(0x25A0, 0x25D0),
    *range(0x27E6, 0x27EC),
    *range(0x27F5, 0x27FB),
    *range(0x2A00, 0x2A07),
    *range(0x2A7D, 0x2A7F),
    *range(0x1D400, 0x1D468),
    *range(0x1D49C, 0x1D504),
    *range(0x1D538, 0x1D56C),
    *range(0x1D6A4, 0x1D7CC),
]
#: Kerning and figures; ssty and dtls are script sizes and dotless letters of formulas.
FEATURES = ["kern", "calt", "tnum", "case", "ssty", "dtls"]
BOXES = list(range(0x2500, 0x2580))
#: Hangul: compatibility letters and syllables.
HANGUL = re.compile("[\u3131-\u318e\uac00-\ud7a3]")


def main() -> None:
    """Cut both fonts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sans", type=Path, required=True)
    parser.add_argument("--mono", type=Path, required=True)
    parser.add_argument("--maths", type=Path, required=True)
    chosen = parser.parse_args()
    words, courses, rest = syllables_of_pages(), syllables_of_courses(), ks_x_1001()
    sans = [
        ("seodang-sans", {*PLAIN, *words}),
        ("seodang-sans-2", courses - words),
        ("seodang-sans-3", rest - courses - words),
    ]
    mono = [("seodang-mono", {*PLAIN, *BOXES}), ("seodang-mono-2", courses | words)]
    rules = [
        *cut(chosen.sans, "Seodang Sans", "400 700", sans),
        *cut(chosen.mono, "Seodang Mono", "400", mono),
        *cut(chosen.maths, "Seodang Math", "400", [("seodang-math", set(MATHS))]),
    ]
    head = "/* Made by tools/cut_fonts.py; browsers load a slice only when a page needs it. */\n"
    (FONTS.parent / "fonts.css").write_text(head + "".join(rules), "utf-8")


def syllables_of_pages() -> set[int]:
    """Return the Hangul of message catalogue, templates and course descriptions."""
    files = [
        *ROOT.glob("lms/web/translations/*/LC_MESSAGES/*.po"),
        *ROOT.glob("templates/**/*.html"),
        *ROOT.glob("lms/web/**/*.py"),
        *ROOT.glob("courses/**/*.toml"),
    ]
    return syllables(file.read_text("utf-8") for file in files)


def syllables_of_courses() -> set[int]:
    """Return the Hangul of notebooks and texts."""
    files = [*ROOT.glob("courses/**/*.ipynb"), *ROOT.glob("courses/**/*.md")]
    return syllables(file.read_text("utf-8") for file in files)


def syllables(texts: Iterable[str]) -> set[int]:
    """Return the Hangul syllables and letters in `texts`."""
    return {ord(letter) for text in texts for letter in HANGUL.findall(text)}


def ks_x_1001() -> set[int]:
    """Return the 2,350 syllables of KS X 1001."""
    pairs = (bytes((lead, trail)) for lead in range(0xB0, 0xC9) for trail in range(0xA1, 0xFF))
    return {ord(pair.decode("euc-kr")) for pair in pairs}


def cut(source: Path, family: str, weight: str, slices: list[tuple[str, set[int]]]) -> list[str]:
    """Write the slices of one font; return their @font-face rules."""
    rules = []
    for name, wanted in slices:
        font = TTFont(source)
        if "fvar" in font:
            instancer.instantiateVariableFont(font, {"wght": (400, 700)}, inplace=True)
        options = subset.Options(flavor="woff2", layout_features=FEATURES)
        options.name_IDs = [0, 1, 2, 3, 4, 6, 13, 14]
        options.drop_tables += ["DSIG"]
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=wanted & font.getBestCmap().keys())
        cutter.subset(font)
        rename(font, family)
        subset.save_font(font, str(FONTS / f"{name}.woff2"), options)
        rules.append(rule(family, name, weight, font.getBestCmap().keys()))
    return rules


def rename(font: TTFont, family: str) -> None:
    """Give the font our own name; the reserved one may not stand on a modified version."""
    for record in font["name"].names:
        if record.nameID in {1, 3, 4, 16}:
            record.string = family
        elif record.nameID == 6:  # noqa: PLR2004 - PostScript name
            record.string = re.sub(r"\s", "", family)


def rule(family: str, name: str, weight: str, points: Iterable[int]) -> str:
    """Return the @font-face rule of a slice."""
    # The same mark as lms.web.chrome.asset puts there, so that a preload is used.
    mark = hashlib.sha256((FONTS / f"{name}.woff2").read_bytes()).hexdigest()[:12]
    return (
        f'@font-face {{ font-family: "{family}"; '
        f'src: url("fonts/{name}.woff2?v={mark}") format("woff2"); '
        f"font-weight: {weight}; font-display: swap; unicode-range: {ranges(points)}; }}\n"
    )


def ranges(points: Iterable[int]) -> str:
    """Return code points as CSS writes them, neighbours joined."""
    spans: list[list[int]] = []
    for point in sorted(points):
        if spans and point == spans[-1][1] + 1:
            spans[-1][1] = point
        else:
            spans.append([point, point])
    return ",".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in spans)


if __name__ == "__main__":
    main()
