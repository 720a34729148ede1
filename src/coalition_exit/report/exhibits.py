"""Tables beside the tables of coefficients: diagnostics and cross-tabulations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from coalition_exit.report.grid import Grid
from coalition_exit.report.numbers import format_a2
from coalition_exit.specs.exhibits import Crosstab
from coalition_exit.specs.loading import Spec

_TESTS = {
    "ph_score": "Proportional hazards, score test",
    "ph_grambsch_therneau": "Proportional hazards, Grambsch-Therneau",
}
_FEW = 10


def diagnostics_key(table: str) -> str:
    """Return the name of the diagnostics of a table; its files bear it."""
    return f"{table}_diagnostics"


def diagnostics_grid(spec: Spec, diagnostics: pd.DataFrame, source_note: str) -> Grid | None:
    """Arrange the diagnostics of one table: a column a model; None when it has none.

    Parameters
    ----------
    spec
        Labels and order of terms.
    diagnostics
        Rows of ``diagnostics.csv``.
    source_note
        What the data are.
    """
    own = diagnostics[diagnostics["table"] == spec.table]
    models = [model for model in spec.models if model.key in set(own["model"])]
    if not models:
        return None
    cells = {(r.model, r.quantity, r.term): (r.value, r.text) for r in own.itertuples(index=False)}
    terms = [term for term in spec.order if any(term in model.covariates for model in models)]
    rows: list[tuple[str, ...]] = []

    def add(label: str, quantity: str, term: str = "", show: Any = format_a2) -> None:
        found = [cells.get((model.key, quantity, term)) for model in models]
        if any(one is not None for one in found):
            rows.append((label, *("" if one is None else show(one[0]) for one in found)))

    add("Events per variable", "events_per_variable", show=lambda v: f"{v:.1f}")
    add("Concordance (Harrell's C)", "concordance", show=_probability)
    add("   its standard error", "concordance_std_error", show=_probability)
    for quantity, label in _TESTS.items():
        transform = next((text for (_, q, t), (_, text) in cells.items() if q == quantity and t != ""), "")
        add(f"{label}, {transform} (p), all terms", quantity, "GLOBAL", _probability)
        for term in terms:
            add(f"   {spec.label_of(term)}", quantity, term, _probability)
    named = [cells.get((model.key, "influential", "")) for model in models]
    if any(named):
        rows.append(("Most influential cluster", *(one[1] if one else "" for one in named)))
        for term in terms:
            add(f"   {spec.label_of(term)} without it", "without_influential", term)
            add("      change in standard errors", "influential_change", term)
    title = f"Diagnostics: {spec.title}" if spec.title else "Diagnostics"
    heads = ("", *(model.head for model in models))
    return Grid(diagnostics_key(spec.table), title, heads, tuple(rows), tuple(_notes(spec, own, source_note)))


def _notes(spec: Spec, own: pd.DataFrame, source_note: str) -> list[str]:
    notes = [
        "Score test: that of R's survival 3 (cox.zph), time transformed by the Kaplan-Meier estimate; "
        "Grambsch-Therneau: the approximation of Stata's estat phtest and of R's survival 2, untransformed time, with "
        "the errors of the table; a small p value speaks against proportional hazards.",
        "The most influential cluster is the one whose removal moves all coefficients most, in the metric of their "
        "covariance; its estimates are exact refits without it.",
    ]
    few = own[(own["quantity"] == "events_per_variable") & (own["value"] < _FEW)]
    if len(few):
        labels = {model.key: model.head for model in spec.models}
        listed = ", ".join(labels[key] for key in few["model"])
        notes.append(f"Fewer than {_FEW} events per variable, so that estimates may be unstable: {listed}.")
    without = own.loc[own["quantity"] == "not_estimable_without", "text"]
    notes += [f"Not estimable without {text.rstrip('.')}." for text in without]
    missing = own[own["value"].isna() & (own["text"] != "") & (own["quantity"] != "not_estimable_without")]
    notes += [f"{row.quantity} of {row.model}: {row.text.rstrip('.')}." for row in missing.itertuples(index=False)]
    return [*dict.fromkeys(notes), f"Data: {source_note}."]


def _probability(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def crosstab_grid(crosstab: Crosstab, cells: pd.DataFrame, tests: dict[str, Any], notes: Sequence[str]) -> Grid:
    """Arrange a cross-tabulation: counts with row percentages and totals.

    Parameters
    ----------
    crosstab
        Title and heads.
    cells
        Its rows of ``crosstabs.csv``.
    tests
        ``chi2``, ``chi2_p``, ``fisher_p`` and ``reason`` ("" when it could be counted).
    notes
        Phrases for its note.
    """
    columns = (crosstab.columns.no, crosstab.columns.yes)
    if tests["reason"]:
        return Grid(crosstab.table, crosstab.title, ("", *columns, "Total"), (), (f"Not counted: {tests['reason']}.",))
    columns_of = (cells[name] for name in ("row", "column", "count", "row_percent"))
    counts = {(row, column): (int(n), share) for row, column, n, share in zip(*columns_of, strict=True)}
    rows: list[tuple[str, ...]] = []
    for row in (crosstab.rows.no, crosstab.rows.yes):
        total = sum(counts[row, column][0] for column in columns)
        rows.append((row, *(str(counts[row, column][0]) for column in columns), str(total)))
        shares = [counts[row, column][1] for column in columns]
        rows.append(("   row %", *("" if pd.isna(s) else f"{s:.1f}" for s in shares), "100.0" if total else ""))
    sums = [sum(counts[row, column][0] for row in (crosstab.rows.no, crosstab.rows.yes)) for column in columns]
    rows.append(("Total", *map(str, sums), str(sum(sums))))
    said = [
        f"Pearson chi-squared {tests['chi2']:.2f} (1 df), p = {tests['chi2_p']:.3f}; "
        f"Fisher's exact p = {tests['fisher_p']:.3f}"
        if pd.notna(tests["chi2"])
        else "No test: a margin is empty",
        "the tests take the rows for independent, which members of one coalition are not",
    ]
    if crosstab.sample:
        said.append(f"rows kept: {' and '.join(expression.text for expression in crosstab.sample)}")
    text = "; ".join([*said, *notes])
    closing = [crosstab.note] if crosstab.note else []
    return Grid(crosstab.table, crosstab.title, ("", *columns, "Total"), tuple(rows), (f"{text}.", *closing))
