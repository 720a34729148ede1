"""A table as cells: made from the files' rows, in the specification's order."""

from __future__ import annotations

import pandas as pd
import pytest

from coalition_exit.report.layout import Cell, TableLayout, lay_out_table
from coalition_exit.report.numbers import format_a2
from coalition_exit.runner import RunResult
from coalition_exit.specs.loading import Spec, load_spec


@pytest.fixture(scope="module")
def table(kinds: Spec, result: RunResult) -> TableLayout:
    return lay_out_table(kinds, result.estimates, result.models, "a source")


@pytest.fixture(scope="module")
def nothing(fails: Spec, failed: RunResult) -> TableLayout:
    return lay_out_table(fails, failed.estimates, failed.models, "a source")


def notes_of(models: str, defaults: str = "") -> str:
    """Notes of a made-up table in which every model was estimated."""
    text = f"table: t\ntitle: T\ndefaults: {{failure: withdraw, covariates: [foverlap]{defaults}}}\nmodels:\n{models}"
    spec = load_spec(text.encode())
    rows = [{"table": "t", "model": m.key, "status": "ok", "reason": ""} for m in spec.models]
    models_csv = pd.DataFrame(rows).assign(n_obs=1, n_subject=1, n_event=1, n_cluster=1)
    estimates = pd.DataFrame(columns=["table", "model", "term", "estimate", "std_error", "p_value"])
    return " ".join(lay_out_table(spec, estimates, models_csv, "SOURCE").notes)


def test_rows_stand_in_the_layouts_order(table: TableLayout) -> None:
    assert [label for label, _ in table.rows][1:] == ["Common Front", "War Worsening", "Recent Ally Exit"]
    assert [label for label, _ in table.foot] == ["Observations", "N_sub", "N_fail", "Clusters", "Log-likelihood"]


def test_every_cell_is_the_files_number_and_empty_where_there_is_none(
    table: TableLayout, kinds: Spec, result: RunResult
) -> None:
    estimates = result.estimates.set_index(["model", "term"])
    assert len(estimates) == 3 + 3 + 3 + 4
    for term, (_, cells) in zip(kinds.order, table.rows, strict=True):
        for model, cell in zip(kinds.models, cells, strict=True):
            if (model.key, term) in estimates.index:
                row = estimates.loc[(model.key, term)]
                assert cell.coef == format_a2(row["estimate"])
                assert cell.error == f"({format_a2(row['std_error'])})"
                assert cell.stars == (
                    "**"
                    if row["p_value"] < 0.01
                    else "*"
                    if row["p_value"] < 0.05
                    else "†"
                    if row["p_value"] < 0.1
                    else ""
                )
            else:
                assert cell == Cell("", "", "")


def test_the_foot_is_the_models_file(table: TableLayout, result: RunResult) -> None:
    models = result.models
    foot = dict(table.foot)
    assert foot["Observations"] == tuple(str(n) for n in models["n_obs"])
    assert foot["N_sub"] == tuple(str(n) for n in models["n_subject"])
    assert foot["N_fail"] == tuple(str(n) for n in models["n_event"])
    assert foot["Clusters"] == tuple("" if pd.isna(n) else str(n) for n in models["n_cluster"])
    assert foot["Clusters"][1] == ""
    assert foot["Log-likelihood"] == tuple("" if pd.isna(v) else f"{v:.2f}" for v in models["loglik"])
    assert foot["Log-likelihood"][3] == ""


def test_groups_and_spans(table: TableLayout) -> None:
    assert table.columns == ("Plain", "Efron", "Sample", "No events", "Coded")
    assert table.spans == [("Abandonment", 2), ("Voluntary", 1), ("", 2)]


def test_the_body_has_the_rows_as_printed(table: TableLayout) -> None:
    assert len(table.body) == 2 * len(table.rows) + len(table.foot)
    assert {len(row) for row in table.body} == {len(table.columns) + 1}
    assert table.body[1][0] == ""


def test_the_notes_say_everything_a_reader_must_know(table: TableLayout) -> None:
    notes = " ".join(table.notes)
    for part in (
        "coefficients, not hazard ratios",
        "Breslow ties for Abandonment: Plain, Voluntary: Sample, No events, Coded; Efron ties for Abandonment: Efron.",
        "clustered by coalid (G/(G-1), as in Stata) for",
        "from the inverse information, not clustered for Abandonment: Efron.",
        "† p < .1, * p < .05, ** p < .01 (two-sided).",
        "Rows kept: warnum not in [106, 139] and year > 1850 for Voluntary: Sample; warnum == 10 for No events.",
        "Coding rules that depart from the article's: recexit by article_recent_exit (window = 90) for Coded.",
        "No events could not be estimated: ",
        "Data: a source.",
        "A note of one's own.",
    ):
        assert part in notes, part
    # Coding by the article's own rule is no departure.
    assert "article_common_front" not in notes


def test_a_table_without_any_estimate_keeps_its_rows_and_says_why(nothing: TableLayout) -> None:
    assert [label for label, _ in nothing.rows] == ["Common Front", "War Worsening"]
    assert all(cell == Cell() for _, cells in nothing.rows for cell in cells)
    notes = " ".join(nothing.notes)
    assert "one could not be estimated: no events" in notes
    assert "two could not be estimated: no row is left" in notes
    assert dict(nothing.foot)["Observations"][1] == "0"


def test_what_holds_for_all_is_said_once() -> None:
    notes = notes_of("  - {key: a}\n  - {key: b}\n", ", sample: [side == 1], coding: {foverlap: {alone: 1}}")
    assert "Breslow ties." in notes
    assert "Standard errors in parentheses, clustered by coalid (G/(G-1), as in Stata)." in notes
    assert "Rows kept: side == 1." in notes
    assert "article's: foverlap by article_common_front (alone = 1)." in notes
    assert " for " not in notes


def test_two_corrections_of_one_cluster_are_both_said() -> None:
    notes = notes_of("  - {key: a}\n  - {key: b, errors: {correction: none}}\n")
    assert (
        "clustered by coalid (G/(G-1), as in Stata) for a; clustered by coalid (no small-sample factor, as in R) for b."
        in notes
    )


def test_a_parameter_given_at_its_shipped_value_is_no_departure() -> None:
    assert "depart" not in notes_of("  - {key: a, coding: {foverlap: {alone: 0.0}}}\n")
    assert "by article_common_front (alone = 0)" not in notes_of("  - {key: a, coding: {foverlap: {}}}\n")


def test_other_tables_rows_are_left_out(kinds: Spec, result: RunResult, failed: RunResult) -> None:
    estimates = pd.concat([result.estimates, result.estimates.assign(table="other", estimate=99.0)])
    models = pd.concat([result.models, failed.models])
    again = lay_out_table(kinds, estimates, models, "a source")
    assert again == lay_out_table(kinds, result.estimates, result.models, "a source")
