"""A regression table as cells, made from the files of a run; renderers only draw it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from coalition_exit.report.numbers import STARS_NOTE, format_a2, format_count, stars
from coalition_exit.specs.loading import Spec

STATISTIC_LABELS = {
    "n_obs": "Observations",
    "n_subject": "N_sub",
    "n_event": "N_fail",
    "n_cluster": "Clusters",
    "loglik": "Log-likelihood",
}
_TIES = {"breslow": "Breslow", "efron": "Efron"}


@dataclass(frozen=True)
class Cell:
    """One estimate: coefficient, stars, standard error, as printed. Empty if not in the model."""

    coef: str = ""
    stars: str = ""
    error: str = ""


@dataclass(frozen=True)
class TableLayout:
    """A table ready to be drawn.

    Attributes
    ----------
    columns, groups
        Column heads, and the spanning head above each column ("" for none).
    rows
        (label, one cell a column).
    foot
        (label, one text a column).
    notes
        Sentences below the table.
    """

    table: str
    title: str
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    foot: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Spanning heads with the number of columns each covers."""
        spans: list[tuple[str, int]] = []
        for group in self.groups:
            if spans and spans[-1][0] == group:
                spans[-1] = (group, spans[-1][1] + 1)
            else:
                spans.append((group, 1))
        return spans


def lay_out_table(spec: Spec, estimates: pd.DataFrame, models: pd.DataFrame, source_note: str) -> TableLayout:
    """Arrange the estimates of one table.

    Parameters
    ----------
    spec
        Labels, order of rows and statistics.
    estimates, models
        Rows of ``estimates.csv`` and ``models.csv``; other tables' rows are left out.
    source_note
        What the data are, for the note.
    """
    estimates = estimates[estimates["table"] == spec.table].set_index(["model", "term"])
    models = models[models["table"] == spec.table].set_index("model")
    rows = tuple(
        (spec.label_of(term), tuple(_cell(estimates, model.key, term) for model in spec.models)) for term in spec.order
    )
    foot = tuple(
        (STATISTIC_LABELS[name], tuple(_statistic(models, model.key, name) for model in spec.models))
        for name in spec.stats
    )
    return TableLayout(
        table=spec.table,
        title=spec.title,
        columns=tuple(model.label for model in spec.models),
        groups=tuple(model.group for model in spec.models),
        rows=rows,
        foot=foot,
        notes=_notes(spec, models, source_note),
    )


def _cell(estimates: pd.DataFrame, model: str, term: str) -> Cell:
    if (model, term) not in estimates.index:
        return Cell()
    row = estimates.loc[(model, term)]
    return Cell(format_a2(row["estimate"]), stars(row["p_value"]), f"({format_a2(row['std_error'])})")


def _statistic(models: pd.DataFrame, model: str, name: str) -> str:
    value = models.loc[model, name]
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if name == "loglik" else format_count(value)


def _notes(spec: Spec, models: pd.DataFrame, source_note: str) -> tuple[str, ...]:
    ties = sorted({_TIES[t] for t in models["ties"]})
    notes = [f"Cox models of the hazard per day; coefficients, not hazard ratios; {' and '.join(ties)} ties."]
    clustered = {m.errors.by: m.errors.correction for m in spec.models if m.errors.type == "cluster"}
    for by, correction in clustered.items():
        factor = "G/(G-1), as in Stata" if correction == "stata" else "no small-sample factor, as in R"
        notes.append(f"Standard errors in parentheses, clustered by {by} ({factor}).")
    if any(m.errors.type == "model" for m in spec.models):
        notes.append("Standard errors in parentheses, model-based where not clustered.")
    notes.append(f"{STARS_NOTE}.")
    changed = [
        f"{m.label}: {name} coded by {m.coding[name].name}" + _parameters(m.choices[name])
        for m in spec.models
        for name in m.choices
    ]
    if changed:
        notes.append(f"Coding rules that depart from the article's: {'; '.join(changed)}.")
    for key, row in models[models["status"] != "ok"].iterrows():
        label = next(m.label for m in spec.models if m.key == key)
        notes.append(f"{label} could not be estimated: {row['reason']}.")
    notes.append(f"Data: {source_note}.")
    if spec.note:
        notes.append(spec.note)
    return tuple(notes)


def _parameters(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    given = ", ".join(f"{key} = {value}" for key, value in choice.items() if key != "rule")
    return f" ({given})" if given else ""
