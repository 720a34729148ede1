"""The table drawn as Markdown, LaTeX, HTML, CSV and plain text, with nasty letters in it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from coalition_exit.report.layout import Cell, TableLayout
from coalition_exit.report.plain import columns, to_text
from coalition_exit.report.tables import escape_latex, to_csv, to_html, to_latex, to_markdown
from report.pages import Page, compiled

NASTY = "<script>alert(\"1\")</script> & 100% | a_b *c* $x$ [y] {z} #1 ~ ^ \\ `q` 'r'"
TABLE = TableLayout(
    table="t_1",
    title=f"Table 3. {NASTY}",
    columns=("One", NASTY, "[Three] *four"),
    groups=("Group & co", "Group & co", ""),
    rows=(
        (NASTY, (Cell("-0.50", "**", "(0.10)"), Cell("1.00", "†", "(0.55)"), Cell())),
        ("[Label]", (Cell(), Cell("12.3", "", "(9.9)"), Cell("-1234.6", "*", "(100.0)"))),
    ),
    foot=(("N_sub", ("1", "2", "3")), ("Log-likelihood", ("-12.50", "", "-1.00"))),
    notes=("† p < .1, * p < .05.", NASTY),
)
PLAIN = replace(TABLE, groups=("", "", ""))


def test_escape_latex() -> None:
    assert escape_latex("a & b_c 100% $5 #1 {x} ~ ^ \\") == (
        r"a \& b\_c 100\% \$5 \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape_latex("† < > | [z]") == r"$\dagger$ $<$ $>$ \textbar{} {[}z{]}"
    assert escape_latex("*a* −1 – ≤ “b”") == "{}*a* $-$1 -- $\\leq$ ``b''"


def _unescaped(text: str, letter: str) -> int:
    """Count a letter that is not part of a command; two backslashes are a line break."""
    return len(re.findall(rf"(?<!\\){re.escape(letter)}", text.replace(r"\\", " ")))


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["groups", "no groups"])
def test_latex_is_balanced_and_every_row_has_its_columns(table: TableLayout) -> None:
    text = to_latex(table)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    # One document is opened and closed, both only when the file is compiled by itself.
    assert text.count(r"\begin{document}") == text.count(r"\end{document}") == 1
    assert _unescaped(text, "{") == _unescaped(text, "}")
    assert _unescaped(body, "$") % 2 == 0
    rows = [line for line in body.splitlines() if line.rstrip().endswith((r"\\", r"\\[2pt]"))]
    assert len(rows) == (1 if any(table.groups) else 0) + 1 + 2 * len(table.rows) + len(table.foot)
    for row in rows:
        spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", row))
        assert _unescaped(row, "&") + spanned == len(table.columns), row
    assert text.isascii()


def test_latex_rules_only_under_groups_with_a_name() -> None:
    assert r"\cmidrule(lr){2-3}" in to_latex(TABLE)
    assert to_latex(TABLE).count("cmidrule") == 1
    assert "cmidrule" not in to_latex(PLAIN)


def test_latex_numbers_stars_and_title() -> None:
    text = to_latex(TABLE)
    assert r"$-$0.50\sym{**}" in text
    assert r"1.00\sym{\dagger}" in text
    assert r"$-$1234.6\sym{*}" in text
    assert r"Log-likelihood & $-$12.50 &  & $-$1.00 \\" in text
    # LaTeX numbers tables itself, but not where the table is compiled alone.
    assert r"]{\tablenumber{Table 3. }" in text
    assert text.count("Table 3") == 1
    assert r"\long\def\tablenumber#1{}" in text
    assert r"\label{tab:t_1}" in text


def _with_columns(n: int) -> TableLayout:
    return replace(
        TABLE,
        columns=tuple(f"{NASTY} {k}" for k in range(n)),
        groups=("",) * n,
        rows=tuple((label, (cells[0],) * n) for label, cells in TABLE.rows),
        foot=(("N_sub", ("1",) * n),),
    )


def test_a_wide_table_lies_across_the_page() -> None:
    for n, wide in [(6, False), (7, True), (16, True)]:
        text = to_latex(_with_columns(n))
        assert (r"\begin{landscape}" in text) is (r"\end{landscape}" in text) is wide
        assert (r"\usepackage{pdflscape}" in text) is wide
        # Whatever its width, it is no wider than the page.
        assert text.count(r"\resizebox{\ifdim\width>\linewidth") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [TABLE, PLAIN, _with_columns(16), replace(TABLE, title="No number")],
    ids=["groups", "no groups", "wide", "no number"],
)
def test_latex_compiles_and_nothing_is_cut_off(table: TableLayout, tmp_path: Path) -> None:
    assert compiled(to_latex(table), tmp_path) == []


def test_latex_label_that_begins_with_a_star() -> None:
    table = replace(TABLE, rows=(TABLE.rows[1], ("* starred", TABLE.rows[1][1])))
    assert "\n{}* starred & " in to_latex(table)


def test_latex_never_begins_a_cell_with_a_bare_bracket_or_star() -> None:
    text = to_latex(TABLE)
    for line in text[text.index(r"\toprule") : text.index(r"\bottomrule")].splitlines():
        assert not line.lstrip().startswith(("[", "*"))
    assert re.search(r"\\\\[*\[](?!2pt)", text) is None


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["groups", "no groups"])
def test_html_is_whole_and_escaped(table: TableLayout) -> None:
    text = to_html(table)
    page = Page(text)
    assert page.open == []
    names = [name for name, _ in page.tags]
    assert "script" not in names
    assert names.count("html") == names.count("head") == names.count("body") == names.count("table") == 1
    joined = "".join(page.texts)
    assert joined.count(NASTY) >= 4
    assert text.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in text


def test_html_stands_alone() -> None:
    for name, attributes in Page(to_html(TABLE)).tags:
        assert name not in ("link", "script", "iframe", "img")
        assert not {"src", "href"} & attributes.keys()
    assert "http" not in to_html(TABLE)
    assert "url(" not in to_html(TABLE)


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["groups", "no groups"])
def test_html_rows_have_their_columns(table: TableLayout) -> None:
    for row in re.findall(r"<tr.*?>(.*?)</tr>", to_html(table), flags=re.DOTALL):
        spanned = sum(int(n) - 1 for n in re.findall(r'colspan="(\d+)"', row))
        assert len(re.findall(r"<t[hd]\b", row)) + spanned == len(table.columns) + 1


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["groups", "no groups"])
def test_markdown_rows_have_their_columns_and_line_up(table: TableLayout) -> None:
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table.body)
    assert {len(_cells(line)) for line in lines} == {len(table.columns) + 1}
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == set("|-:")


def test_markdown_marks_are_escaped() -> None:
    text = to_markdown(TABLE)
    assert r"\<script>" in text
    assert r"\</script>" in text
    assert r"100% \| a_b \*c\* \$x\$" in text
    assert r"\`q\`" in text
    # Nothing to escape in these, so they stay legible.
    assert "-0.50** |" in text
    assert "p < .1, * p < .05" in text
    assert "N_sub" in text


@pytest.mark.parametrize(
    ("label", "escaped"),
    [
        ("_a_", r"\_a\_"),
        ("a_b_c", "a_b_c"),
        ("&lt;", r"\&lt;"),
        ("a & b", "a & b"),
        ("[a](http://b)", r"[a\](http://b)"),
        ("1 < 2", "1 < 2"),
        ("<!--", r"\<!--"),
        ("~~x~~", r"\~\~x\~\~"),
        ("* a", r"\* a"),
        ("a * b ** c", "a * b ** c"),
        ("a *b* c", r"a \*b\* c"),
        ("-1.25**", "-1.25**"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_escapes_no_more_than_it_must(label: str, escaped: str) -> None:
    table = replace(TABLE, rows=((label, TABLE.rows[0][1]),))
    assert f"| {escaped} " in to_markdown(table)


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["groups", "no groups"])
def test_csv_reads_back(table: TableLayout) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    heads = 2 if any(table.groups) else 1
    assert rows[heads - 1] == ["", *table.columns]
    assert rows[heads : heads + len(table.body)] == table.body
    assert [row[0] for row in rows[heads + len(table.body) :]] == list(table.notes)
    assert "\r" not in to_csv(table)


def test_text_lines_up() -> None:
    lines = to_text(TABLE).splitlines()
    row = next(line for line in lines if "-0.50**" in line)
    error = lines[lines.index(row) + 1]
    # The last digit of a coefficient stands above the last digit of its error.
    assert row.index("-0.50") + 5 == error.index("(0.10)") + 5
    assert "Group & co" in lines[2]
    assert lines[2].count("Group & co") == 1
    assert not any(line != line.rstrip() for line in lines)


def test_a_group_head_longer_than_its_columns_widens_them() -> None:
    short = replace(
        TABLE,
        columns=("A", "B", "C"),
        groups=("First of the groups", "Second of the groups", "Third"),
        rows=(("x", (Cell("1.00"),) * 3),),
    )
    heads = next(line for line in to_text(short).splitlines() if "First" in line)
    below = next(line for line in to_text(short).splitlines() if line.strip().startswith("A"))
    assert "  Second of the groups  Third" in heads
    # Each column still ends where its group's head does, or further left.
    assert heads.index("Second") > below.index("A")
    assert below.index("B") > heads.index("Second")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_text_in_a_narrow_terminal_shows_blocks_of_columns(width: int) -> None:
    short = replace(
        TABLE, title="A title of some length", columns=("One", "Two", "Three"), rows=(("A label", TABLE.rows[0][1]),)
    )
    text = to_text(short, width)
    for column in short.columns:
        assert sum(column in line.split() for line in text.splitlines()) == 1
    table_lines = [line for line in text.splitlines() if set(line) == {"-"}]
    assert all(len(line) <= max(width, 30) for line in table_lines)
    assert "1234.6" not in text
    assert text.count("N_sub") == len([line for line in text.splitlines() if line.startswith("A label")])


def test_text_keeps_words_whole() -> None:
    words = " ".join(TABLE.notes).split()
    assert to_text(TABLE, 60).split()[-len(words) :] == words


def test_columns_break_the_last_one() -> None:
    text = columns(
        "Title", ["name", "n", "meaning"], [["a", "1", "word " * 20], ["long_name", "22", "short"]], 50, ["n"]
    )
    lines = text.splitlines()
    assert lines[0] == "Title"
    assert lines[2] == "name        n  meaning"
    assert lines[3].startswith("a           1  word word")
    assert lines[4].startswith(" " * 15 + "word")
    assert lines[-1] == "long_name  22  short"
    assert max(map(len, lines)) <= 50
