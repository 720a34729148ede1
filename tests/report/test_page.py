"""The report: sections in order, a list of contents that leads everywhere, what the data are once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coalition_exit.commands import replicate_specs, run_specs
from coalition_exit.report.grid import Grid
from coalition_exit.report.layout import Cell, TableLayout
from coalition_exit.report.page import Entry, Picture, report_page
from coalition_exit.specs.exhibits import load_exhibit
from coalition_exit.specs.loading import load_spec
from report.conftest import NASTY
from report.pages import Page

DATA = "a file of mine (CSV), SHA-256 0123"


def table(key: str, columns: int, *notes: str, title: str = "A table") -> Entry:
    heads = tuple(f"C{k}" for k in range(columns))
    layout = TableLayout(
        table=key, title=title, columns=heads, groups=("",) * columns, rows=(("x", (Cell("1", "", "(2)"),) * columns),),
        foot=(), notes=notes,
    )  # fmt: skip
    return Entry(key, title, table=layout, picture=Picture(key, title, "alt", "data:image/svg+xml;base64,QQ=="))


def test_contents_lead_to_every_exhibit_and_section_in_order() -> None:
    grid = Grid("g", "A grid", ("a",), (("1",),))
    text = report_page(
        [("Main", table("one", 2)), ("Appendix", table("two", 2)), ("Main", Entry("g", "A grid", grid=grid))], [DATA]
    )
    page = Page(text)
    assert page.open == []
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["#:1", "#one", "#g", "#:2", "#two", "#:contents", "#:contents"]
    anchors = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert {link[1:] for link in links} == set(anchors)
    assert len(anchors) == len(set(anchors))
    assert [text.index(f'id="{name}"') for name in (":1", "one", "g", ":2", "two")] == sorted(
        text.index(f'id="{name}"') for name in (":1", "one", "g", ":2", "two")
    )


def test_what_the_data_are_stands_once_and_what_is_the_tables_own_stays() -> None:
    first = table("one", 2, "Cox.", f"Data: {DATA}.")
    second = table("two", 2, "Cox.", f"Data: {DATA}; rows left out for missing values: 3 (A).")
    counted = Entry("g", "G", grid=Grid("g", "G", ("a",), (("1",),), (f"Fisher 0.1; data: {DATA}.", f"Data: {DATA}.")))
    text = report_page([("Main", first), ("Main", second), ("Main", counted)], [DATA])
    assert text.count(DATA) == 1
    assert text.index(DATA) < text.index("<nav")
    assert '<p class="note">Cox.</p>' in text
    assert "Cox. Rows left out for missing values: 3 (A)." in text
    assert "Fisher 0.1." in text


def test_several_data_are_named_at_the_top_and_at_each_table() -> None:
    text = report_page(
        [("Main", table("one", 2, f"Data: {DATA}.")), ("Main", table("two", 2, "Data: another."))], [DATA, "another"]
    )
    assert text.count(DATA) == 2
    assert text.count("Data: another.") == 2


@pytest.mark.parametrize(("columns", "kind"), [(6, "beside"), (7, "wide")])
def test_a_plot_stands_beside_a_table_that_leaves_room(columns: int, kind: str) -> None:
    assert f'<figure id="one" class="{kind}">' in report_page([("Main", table("one", columns))], [])


def test_all_is_escaped_and_nothing_comes_from_elsewhere() -> None:
    entry = table("one", 2, NASTY, title=NASTY)
    grid = Entry("g", NASTY, grid=Grid("g", NASTY, (NASTY,), ((NASTY,),), (NASTY,)))
    text = report_page([(NASTY, entry), (NASTY, grid)], [NASTY, DATA])
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert NASTY in page.texts
    assert not re.search(r"(?:src|href)=\"(?!data:image/svg|#)|url\(|@import|http", text)


def test_the_articles_exhibits_come_before_appendix_robustness_and_diagnostics() -> None:
    sections = {one.table: one.section for one in replicate_specs()}
    assert {key for key, name in sections.items() if not name} == {
        "table1", "table2", "crosstab1", "crosstab2", *(f"figure{k}" for k in range(1, 6))
    }  # fmt: skip
    assert {name for name in sections.values() if name} == {"Appendix", "Robustness: discrete time"}


def test_a_run_puts_exhibits_into_the_sections_that_their_files_name(tmp_path: Path, no_figures: None) -> None:
    head = "title: T\ndefaults: {failure: withdraw, covariates: [foverlap]}\nmodels: [{key: a}]\n"
    later = load_spec(f"table: later\nsection: Further\n{head}".encode())
    main = load_spec(f"table: main\n{head}".encode())
    path = tmp_path / "c.yaml"
    path.write_text(
        "crosstab: crossed\ntitle: C\nsection: Further\nrows: {where: foverlap == 1, yes: y, no: n}\n"
        "columns: {where: withdraw == 1, yes: y, no: n}\n",
        encoding="utf-8",
    )
    outcome = run_specs([later, main, load_exhibit(path)], "record", tmp_path / "out", "test")
    text = (outcome.out / "report.html").read_text("utf-8")
    places = [
        text.index(f'<h2 id=":{k}">{name}') for k, name in ((1, "Tables and"), (2, "Further"), (3, "Diagnostics"))
    ]
    assert places[0] < text.index('id="main"') < places[1] < text.index('id="later"') < text.index('id="crossed"')
    assert text.index('id="crossed"') < places[2] < text.index('id="main_diagnostics"')
