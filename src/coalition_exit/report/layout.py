"""A regression table as cells, made from the files of a run; renderers only draw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from coalition_exit.coding.rules import load_rules
from coalition_exit.report.numbers import STARS_NOTE, format_a2, format_count, stars
from coalition_exit.specs.loading import Spec
from coalition_exit.specs.models import ModelSpec

STATISTIC_LABELS = {
    "n_obs": "Observations",
    "n_subject": "N_sub",
    "n_event": "N_fail",
    "n_cluster": "Clusters",
    "loglik": "Log-likelihood",
}
_TIES = {"breslow": "Breslow", "efron": "Efron", "exact": "exact (discrete partial likelihood)"}
_LINKS = {"logit": "logit", "cloglog": "complementary log-log", "probit": "probit"}
_DURATION = {
    "constant": "no duration dependence", "linear": "linear duration dependence", "log": "log duration dependence",
    "cubic": "cubic duration dependence (t, t2, t3)", "ns": "natural spline of duration",
    "rcs": "restricted cubic spline of duration", "dummies": "a dummy for each period",
}  # fmt: skip
_CONSTANT = "_cons"


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
    def body(self) -> list[list[str]]:
        """Rows as printed, the label first: coefficients with stars, errors below, then the foot."""
        rows = []
        for label, cells in self.rows:
            rows.append([label, *(cell.coef + cell.stars for cell in cells)])
            rows.append(["", *(cell.error for cell in cells)])
        return rows + [[label, *values] for label, values in self.foot]

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
    own = estimates[estimates["table"] == spec.table]
    found = {(row.model, row.term): row for row in own.itertuples(index=False)}
    models = models[models["table"] == spec.table].set_index("model")
    rows = tuple(
        (spec.label_of(term), tuple(_cell(found.get((model.key, term))) for model in spec.models))
        for term in _terms(spec, list(own["term"]))
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


def _terms(spec: Spec, estimated: Sequence[str]) -> list[str]:
    """Return the terms in the table's order; those the file cannot name, of duration, stand before the constant."""
    others = list(dict.fromkeys(term for term in estimated if term not in spec.order and term != _CONSTANT))
    order = list(spec.order)
    at = order.index(_CONSTANT) if _CONSTANT in order else len(order)
    return [*order[:at], *others, *order[at:]]


def _cell(row: Any) -> Cell:
    if row is None:
        return Cell()
    return Cell(format_a2(row.estimate), stars(row.p_value), f"({format_a2(row.std_error)})")


def _statistic(models: pd.DataFrame, model: str, name: str) -> str:
    value = models.loc[model, name]
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if name == "loglik" else format_count(value)


def _notes(spec: Spec, models: pd.DataFrame, source_note: str) -> tuple[str, ...]:
    kinds = "; ".join([*_said(_by_model(spec, lambda m: [_kind(spec, m)])), *_said(_by_model(spec, _ties))])
    errors = "; ".join(_said(_by_model(spec, lambda m: [_errors(m)])))
    notes = [f"{kinds}.", f"Standard errors in parentheses, {errors}.", f"{STARS_NOTE}."]
    for lead, describe in (
        ("Rows kept", _samples),
        ("Events not counted", _censored),
        ("Coding rules that depart from the article's", _departures),
    ):
        said = _said(_by_model(spec, describe))
        if said:
            notes.append(f"{lead}: {'; '.join(said)}.")
    for model in spec.models:
        if models.loc[model.key, "status"] != "ok":
            reason = str(models.loc[model.key, "reason"]).rstrip(".")
            notes.append(f"{model.head} could not be estimated: {reason}.")
    notes.append(f"Data: {source_note}.")
    if spec.note:
        notes.append(spec.note)
    return tuple(notes)


def _by_model(spec: Spec, describe: Callable[[ModelSpec], list[str]]) -> dict[str, tuple[str, ...]]:
    """Return what is to be said, each with the models it holds for; () if it holds for all."""
    heads: dict[str, list[str]] = {}
    for model in spec.models:
        for text in describe(model):
            heads.setdefault(text, []).append(model.head)
    return {text: () if len(of) == len(spec.models) else tuple(_by_group(spec, of)) for text, of in heads.items()}


def _by_group(spec: Spec, heads: Sequence[str]) -> list[str]:
    """Name a group in the place of its models where all of them are meant."""
    said: list[str] = []
    for model in spec.models:
        members = [other.head for other in spec.models if other.group == model.group]
        whole = len(members) > 1 and bool(model.group) and set(members) <= set(heads)
        name = model.group if whole else model.head
        if model.head in heads and name not in said:
            said.append(name)
    return said


def _said(by_model: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{text} for {', '.join(heads)}" if heads else text for text, heads in by_model.items()]


def _ties(model: ModelSpec) -> list[str]:
    return [f"{_TIES[model.ties]} ties"] if model.ties else []


def _kind(spec: Spec, model: ModelSpec) -> str:
    if model.is_cox:
        per_day = " per day" if isinstance(spec.data, str) else ""
        strata = f", stratified by {', '.join(model.strata)}" if model.strata else ""
        kind = "" if model.cause is None else f" of exits of kind {model.cause}, others censored"
        return f"Cox models of the hazard{per_day}{kind}{strata}; coefficients, not hazard ratios"
    if model.estimator == "fine_gray":
        return (
            f"Fine-Gray models of the subdistribution hazard of exits of kind {model.cause}, other exits competing; "
            "coefficients, not hazard ratios"
        )
    link = _LINKS[model.estimator]
    if model.discrete is None:
        return f"{link[0].upper()}{link[1:]} models of {model.outcome}; coefficients"
    options = model.discrete
    taken = {"start": "at the start", "end": "at the end", "mean": "averaged over"}[options.covariates]
    scale = f", t divided by {options.divisor:g}" if options.baseline == "cubic" else ""
    period = options.period if isinstance(options.period, str) else "period"
    length = "" if isinstance(options.period, str) else f" of {options.period:g} units of time"
    return (
        f"Discrete-time hazards by {period}{length} ({link}, {_DURATION[options.baseline]}{scale}); observations are "
        f"person-{period}s, covariates taken {taken} of each; coefficients"
    )


def _errors(model: ModelSpec) -> str:
    if model.errors.type == "model":
        return "from the inverse information, not clustered"
    factor = "G/(G-1), as in Stata" if model.errors.correction == "stata" else "no small-sample factor, as in R"
    return f"clustered by {model.errors.by} ({factor})"


def _samples(model: ModelSpec) -> list[str]:
    return [" and ".join(expression.text for expression in model.sample)] if model.sample else []


def _censored(model: ModelSpec) -> list[str]:
    return [" or ".join(expression.text for expression in model.censor)] if model.censor else []


def _departures(model: ModelSpec) -> list[str]:
    said = []
    for name, choice in model.choices.items():
        rule, default = model.coding[name], load_rules().default_for(name)
        if default is None or rule.identity != default.identity:
            said.append(f"{name} by {rule.name}{_parameters(choice)}")
    return said


def _parameters(choice: object) -> str:
    given = {key: value for key, value in choice.items() if key != "rule"} if isinstance(choice, dict) else {}
    return f" ({', '.join(f'{key} = {value}' for key, value in given.items())})" if given else ""
