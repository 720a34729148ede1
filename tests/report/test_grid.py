"""Tables of texts drawn as Markdown, LaTeX, HTML, CSV and plain text, with nasty letters in them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.report.exhibits import diagnostics_grid
from coalition_exit.report.grid import Grid, grid_of, render, to_text
from coalition_exit.report.page import Entry, report_page
from coalition_exit.specs.loading import load_spec
from report.pages import Page, compiled

NASTY = "<script>alert(\"1\")</script> & 100% | a_b *c* $x$ [y] {z} #1 ~ ^ \\ `q` 'r'"
SENTENCE = "Some words that are long enough to be broken into several lines wherever a column is narrow."
GRID = Grid(
    key="g_1",
    title=f"Table 3. {NASTY}",
    heads=("", "Count", NASTY, "[Four] *x"),
    rows=(
        ("All", "1,234", SENTENCE, "-0.50**"),
        (NASTY, "-5", "", "(0.10)"),
        ("* star", "", "two\nlines", "25.0%"),
    ),
    notes=("A note.", NASTY),
)
LONG = replace(GRID, rows=GRID.rows * 20)
WIDE = Grid("wide", "No number", tuple(f"Head {k} of it" for k in range(14)), (("-1.25",) * 14, (NASTY,) * 14))
EMPTY = Grid("empty", "", ("a", "b"), ())
ALL = {"grid": GRID, "long": LONG, "wide": WIDE, "empty": EMPTY, "one column": Grid("o", "", ("a",), (("b",),))}


def test_a_grid_is_frozen_and_its_rows_have_its_columns() -> None:
    with pytest.raises(FrozenInstanceError):
        GRID.title = ""  # type: ignore[misc]
    with pytest.raises(DataError, match="table g > row 2: expected 2 cells, got 1"):
        Grid("g", "", ("a", "b"), (("1", "2"), ("1",)))


def test_numbers_stand_to_the_right() -> None:
    assert GRID.right == (False, True, False, True)
    assert EMPTY.right == (False, False)
    texts = ("12", "-0.5**", "−0.5", "(0.25)", "[1]", "1,234.5", "12%", "1e-08", ".5", "")
    assert Grid("g", "", ("a", "b"), tuple(("x", t) for t in texts)).right == (False, True)
    for text in ("x", "1 of 2", "-", "2016a", "1816-2003"):
        assert Grid("g", "", ("a", "b"), (("x", text),)).right == (False, False)


def test_a_grid_of_a_frame() -> None:
    frame = pd.DataFrame(
        {
            "name": ["a", None],
            "n": pd.array([5, None], dtype="Int64"),
            "x": [1234.5678, np.nan],
            "p": [0.01, 0.2],
            "ok": [True, False],
        },
        index=[7, 7],
    )
    before = frame.copy(deep=True)
    grid = grid_of(frame, "g", "Title", ["Note."], {"n": "Rows"}, {"p": "{:.3f}".format})
    assert grid.heads == ("name", "Rows", "x", "p", "ok")
    assert grid.rows == (("a", "5", "1235", "0.010", "yes"), ("", "", "", "0.200", "no"))
    assert (grid.title, grid.notes) == ("Title", ("Note.",))
    pd.testing.assert_frame_equal(frame, before)
    assert grid_of(frame.iloc[:0], "g", "").rows == ()


@pytest.mark.parametrize("name", ALL)
def test_csv_reads_back(name: str) -> None:
    grid = ALL[name]
    rows = list(csv.reader(io.StringIO(render(grid, "csv"))))
    assert tuple(map(tuple, rows[: len(grid.rows) + 1])) == (grid.heads, *grid.rows)
    assert [row[0] for row in rows[len(grid.rows) + 1 :]] == list(grid.notes)


def test_several_grids_in_one_csv() -> None:
    rows = list(csv.reader(io.StringIO(render([GRID, WIDE], "csv"))))
    assert rows[0] == [GRID.title]
    assert rows[rows.index([]) + 1] == [WIDE.title]


@pytest.mark.parametrize("name", ALL)
def test_markdown_rows_have_their_columns_and_line_up(name: str) -> None:
    grid = ALL[name]
    lines = [line for line in render(grid, "md").splitlines() if line.startswith("|")]
    assert len(lines) == len(grid.rows) + 2
    assert {len(re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines} == {len(grid.heads)}
    assert len({len(line) for line in lines}) == 1
    assert [part.endswith(":") for part in lines[1].strip("|").split("|")] == list(grid.right)


def test_markdown_marks_are_escaped() -> None:
    text = render(GRID, "md")
    assert "<script>" not in text.replace(r"\<script>", "")
    assert text.startswith("**Table 3. ")
    assert "-0.50** |" in text


@pytest.mark.parametrize("name", ALL)
def test_html_is_whole_and_escaped(name: str) -> None:
    grid = ALL[name]
    text = render(grid, "html")
    page = Page(text)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert names.count("table") == names.count("html") == 1
    found = [re.findall(r"<t[hd]\b", row) for row in re.findall(r"<tr.*?>(.*?)</tr>", text, flags=re.DOTALL)]
    assert [len(row) for row in found] == [len(grid.heads)] * (len(grid.rows) + 1)
    for cell in {*grid.heads, *(cell for row in grid.rows for cell in row), *grid.notes}:
        assert cell in "".join(page.texts)
    assert {"src", "href"}.isdisjoint({key for _, attributes in page.tags for key in attributes})


def test_html_and_latex_keep_the_indent_of_rows_below_a_head() -> None:
    grid = Grid("g", "", ("", "p"), (("Head", "1"), ("   below", "2"), ("      further below", "3")))
    rows = [
        attributes
        for tag, attributes in Page(render(grid, "html")).tags
        if tag == "th" and "row" in attributes.values()
    ]
    indents = [
        str(row.get("style") or "padding-left: 0em").removeprefix("padding-left: ").removesuffix("em") for row in rows
    ]
    assert [float(indent) for indent in indents] == pytest.approx([0, 1.2, 2.4])
    latex = render(grid, "tex")
    assert re.findall(r"^(?:\\hspace\*\{(.*?)em\})?\w.* & (\d)", latex, re.M) == [("", "1"), ("1.2", "2"), ("2.4", "3")]


def test_html_of_several_grids_has_a_title_and_a_lead() -> None:
    text = render([GRID, WIDE], "html", "The whole & all", "First line.\nSecond <b>.")
    assert "<h1>The whole &amp; all</h1>" in text
    assert '<p class="lead">First line.</p>\n<p class="lead">Second &lt;b&gt;.</p>' in text
    assert text.count('<div class="scroll">') == 2
    assert "<h1>" not in render(GRID, "html")


def test_grids_stand_in_a_report_beside_tables() -> None:
    text = report_page([("Diagnostics", Entry(GRID.key, GRID.title, grid=GRID))], [])
    assert '<figure id="g_1">' in text
    assert '<a href="#g_1">' in text
    assert "<figure" not in report_page([], [])


@pytest.mark.parametrize("name", ALL)
def test_latex_is_balanced_and_every_row_has_its_columns(name: str) -> None:
    grid = ALL[name]
    text = render(grid, "tex")
    assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    body = text[text.index(r"\toprule") : text.rindex(r"\bottomrule" if name != "long" else r"\end{longtable}")]
    plain = body.replace(r"\\", " ")
    for one, other in ("{}", r"{}"):
        assert len(re.findall(rf"(?<!\\)\{one}", plain)) == len(re.findall(rf"(?<!\\)\{other}", plain))
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "continued" not in line]
    assert len(rows) == len(grid.rows) + (2 if name == "long" else 1)
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row.replace(r"\\", " "))) == len(grid.heads) - 1
        assert not row.startswith(("[", "*"))


def test_latex_of_long_and_of_wide_tables() -> None:
    assert r"\begin{longtable}" in render(LONG, "tex")
    assert r"\usepackage{longtable}" in render(LONG, "tex")
    assert r"\endhead" in render(LONG, "tex")
    assert "longtable}" not in render(GRID, "tex")
    assert r"\begin{landscape}" in render(WIDE, "tex")
    assert r"\usepackage{pdflscape}" in render(WIDE, "tex")
    sentences = Grid("s", "", ("a", "b"), (("x", SENTENCE * 3),))
    assert "landscape}" not in render(sentences, "tex")
    assert r"\raggedright\arraybackslash}p{0." in render(sentences, "tex")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALL, "several"])
def test_latex_compiles_and_nothing_is_cut_off(name: str, tmp_path: Path) -> None:
    grids = [GRID, LONG, WIDE, EMPTY] if name == "several" else [ALL[name]]
    assert compiled(render(grids, "tex", "A title", f"A lead.\n{NASTY}"), tmp_path) == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [None, 40, 80, 120])
def test_text_fits_and_holds_everything(name: str, width: int | None) -> None:
    grid = ALL[name]
    text = to_text(grid, width, "A lead.")
    assert text.startswith("A lead.\n\n")
    # A longer word may be broken where its column is narrow.
    words = {w for row in (grid.heads, *grid.rows) for cell in row for w in cell.split() if len(w) <= 12}
    assert words <= set(text.split())
    lines = text.splitlines()
    assert not any(line != line.rstrip() for line in lines)
    if width is not None and name in ("empty", "one column"):
        assert max(map(len, lines)) <= width
    if width == 120:
        assert max(len(line) for line in lines if set(line) == {"-"}) <= 120


def test_text_lines_up() -> None:
    grid = Grid("g", "", ("Name", "Rows", "Meaning"), (("a", "5", SENTENCE), ("long name", "1,234", "short")))
    lines = to_text(grid, 60).splitlines()
    assert lines[1] == "Name        Rows  Meaning"
    assert lines[3].startswith("a              5  Some words that")
    assert lines[4].startswith(" " * 18)
    assert lines[-2] == "long name  1,234  short"
    assert max(map(len, lines)) <= 60


def test_another_suffix() -> None:
    with pytest.raises(DataError, match="suffix of a table: expected one of md, tex, html, csv, txt, got 'doc'"):
        render(GRID, "doc")


@pytest.mark.parametrize("title", ["Does the finding survive my objection?", "Table 1. Exit", ""])
def test_the_title_of_diagnostics(title: str) -> None:
    spec = load_spec(b"table: t\ntitle: T\ndefaults: {failure: withdraw, covariates: [foverlap]}\nmodels: [{key: a}]\n")
    row = {"table": "t", "model": "a", "quantity": "events_per_variable", "term": "", "value": 32.0, "text": ""}
    grid = diagnostics_grid(replace(spec, title=title), pd.DataFrame([row]), "n")
    assert grid is not None
    assert grid.title == (f"Diagnostics: {title}" if title else "Diagnostics")
