"""The numbers that figures show, from a data source; drawing them is left to the report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError
from coalition_exit.runner.estimation import OK, run_model
from coalition_exit.runner.sources import ArchiveSource, Source
from coalition_exit.specs.exhibits import Figure, History, Margins, Survival, Windows
from coalition_exit.specs.models import ModelSpec
from coalition_exit.survival.cox.cox_fit import CoxFit

MONTH, YEAR = 30.4375, 365.25
UNITS = {"day": 1.0, "month": MONTH, "year": YEAR}


@dataclass(frozen=True, eq=False)
class FigureResult:
    """The numbers of a figure.

    Attributes
    ----------
    data : DataFrame
        What is drawn, in long form; empty when the figure could not be computed.
    status, reason
        "ok" and "", or a word and a sentence.
    notes : tuple of str
        What a reader should know; phrases.
    source, sha256, note : str
        Data source, its hash, and what the data are.
    """

    figure: Figure
    data: pd.DataFrame
    status: str
    reason: str
    notes: tuple[str, ...]
    source: str
    sha256: str
    note: str


def run_figure(figure: Figure, source: Source) -> FigureResult:
    """Compute what a figure shows. What cannot be computed gives a result that says why."""
    empty = pd.DataFrame()
    notes: tuple[str, ...] = ()
    try:
        data, notes = _compute(figure, source)
        status, reason = OK, ""
    except FitError as error:
        data, status, reason = empty, error.status, str(error)
    except DataError as error:
        data, status, reason = empty, "bad_data", str(error)
    return FigureResult(figure, data, status, reason, notes, source.name, source.sha256, source.note)


Numbers = tuple[pd.DataFrame, tuple[str, ...]]


def _compute(figure: Figure, source: Source) -> Numbers:
    plot = figure.plot
    if isinstance(plot, History):
        return _history(figure, plot, source)
    if isinstance(plot, Survival):
        return _survival(figure, plot, source)
    if isinstance(plot, Margins):
        return _margins(figure, plot, source)
    return _windows(figure, plot, source)


def _history(figure: Figure, plot: History, source: Source) -> Numbers:
    """Columns: panel, state, ccode, variable, date, value."""
    wanted = ["ccode", "year", "month", "day", *figure.variables]
    frame = source.frame(wanted, figure.choices or None)
    dates = pd.to_datetime(frame[["year", "month", "day"]], errors="coerce")
    parts = []
    for panel, filters in zip(plot.panels, figure.filters, strict=True):
        keep = dates.notna() & frame["ccode"].isin(list(plot.states.values()))
        for expression in filters:
            keep &= expression.evaluate(frame)
        if panel.begin:
            keep &= dates >= pd.Timestamp(panel.begin)
        if panel.end:
            keep &= dates <= pd.Timestamp(panel.end)
        if plot.every == "month":
            keep &= dates.dt.day == 1
        own = frame.loc[keep].assign(date=dates[keep].dt.strftime("%Y-%m-%d"))
        for name, ccode in plot.states.items():
            for variable in plot.variables:
                line = own.loc[own["ccode"] == ccode, ["date", variable]].sort_values("date")
                line = line.rename(columns={variable: "value"}).drop_duplicates("date")
                parts.append(line.assign(panel=panel.title, state=name, ccode=ccode, variable=variable))
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if data.empty:
        raise DataError(figure.table, "days that the figure shows", "none in the data")
    return data[["panel", "state", "ccode", "variable", "date", "value"]], ()


def _fit(figure: Figure, source: Source, model: ModelSpec | None = None) -> tuple[CoxFit, tuple[str, ...]]:
    model = model or figure.model
    assert model is not None
    result = run_model(model, source)
    if not isinstance(result.fit, CoxFit):
        raise FitError(result.status, result.reason)
    dropped = (f"{result.n_dropped:,} rows left out for missing values",) if result.n_dropped else ()
    counted = f"{result.fit.n_obs:,} rows, {result.fit.n_subject} subjects, {result.fit.n_event} events"
    return result.fit, (counted, *result.notes, *dropped)


def _survival(figure: Figure, plot: Survival, source: Source) -> Numbers:
    """Columns: scenario, time (days), month (or day, year), survival, std_error, conf_low, conf_high."""
    fit, notes = _fit(figure, source)
    used = pd.DataFrame(fit.state.design.x, columns=list(fit.terms))
    rows, said = {}, []
    for scenario in plot.scenarios:
        values = {}
        for term in fit.terms:
            value = scenario.at[term]
            values[term] = float(getattr(used[term], value)()) if isinstance(value, str) else float(value)
            if isinstance(value, str):
                said.append(f"{figure.label_of(term)} at its {value} ({values[term]:.3g})")
        rows[scenario.label] = values
    from coalition_exit.survival.quantities.predict import survival

    last = float(fit.state.design.surv.stop.max())
    reach = min(plot.horizon, last)
    if reach < plot.horizon:
        said.append(f"the last row ends on day {last:g}: no estimate beyond")
    scenarios = fit.scenarios(pd.DataFrame.from_dict(rows, orient="index"))
    events = np.unique(fit.state.design.surv.stop[fit.state.design.surv.event.astype(bool)])
    times = np.unique(np.concatenate([[0.0], events[events <= reach], [reach]]))
    curve = survival(scenarios, times, conf_type="log-log").table
    data = pd.DataFrame(
        {
            "scenario": curve["scenario"],
            "time": curve["time"],
            plot.unit: curve["time"] / UNITS[plot.unit],
            "survival": curve["estimate"],
            "std_error": curve["std_error"],
            "conf_low": curve["conf_low"],
            "conf_high": curve["conf_high"],
        }
    )
    # Before the first event the curve is 1 with certainty; the interval's formula has no value there.
    certain = data["survival"] == 1
    data.loc[certain, ["conf_low", "conf_high"]] = 1.0
    return data, (*notes, *dict.fromkeys(said))


def _margins(figure: Figure, plot: Margins, source: Source) -> Numbers:
    """Columns: term, kind, percentile, value, standardized, estimate, std_error, conf_low, conf_high."""
    from coalition_exit.survival.quantities.margins import percentiles

    fit, notes = _fit(figure, source)
    x = fit.state.design.x
    percents = np.arange(plot.percentiles[0], plot.percentiles[1] + 1)
    parts = []
    for term in (*plot.continuous, *plot.binary):
        column = x[:, fit.terms.index(term)]
        binary = term in plot.binary
        values = np.array([0.0, 1.0]) if binary else percentiles(column, percents)
        # A share may stand at one value over many percentiles: each value is predicted once.
        distinct, where = np.unique(values, return_inverse=True)
        table = fit.margins({term: distinct}).table.iloc[where].reset_index(drop=True)
        spread = float(np.std(column, ddof=1))
        parts.append(
            pd.DataFrame(
                {
                    "term": term,
                    "kind": "binary" if binary else "continuous",
                    "percentile": np.nan if binary else percents,
                    "value": values,
                    "standardized": (values - column.mean()) / spread if spread > 0 else np.nan,
                    **{name: table[name] for name in ("estimate", "std_error", "conf_low", "conf_high")},
                }
            )
        )
    if not parts:
        raise DataError(figure.table, "covariates under continuous or binary", "none")
    data = pd.concat(parts, ignore_index=True).astype({"percentile": "Int64"})
    said = (
        ("intervals by the delta method, symmetric as Stata's, so that they may reach below 0",)
        if plot.intervals
        else ()
    )
    return data, (*notes, *said)


def _windows(figure: Figure, plot: Windows, source: Source) -> Numbers:
    """Columns: window, variable, estimate, std_error, p_value, conf_low, conf_high, status, reason."""
    assert figure.model is not None
    rows: list[dict[str, Any]] = []
    notes: tuple[str, ...] = ()
    windows = range(plot.begin, plot.end + 1, plot.step)
    models = [_with_window(figure.model, plot.vary, window) for window in windows]
    if not isinstance(source, ArchiveSource) and not any(model.choices for model, _ in models):
        # All windows in one panel: it is then built once.
        source.frame(list(dict.fromkeys(name for model, _ in models for name in model.variables)))
    for window, (model, variable) in zip(windows, models, strict=True):
        try:
            fit, notes = _fit(figure, source, model)
        except FitError as error:
            rows.append({"window": window, "variable": variable, "status": error.status, "reason": str(error)})
            continue
        own = fit.tidy().set_index("term").loc[variable]
        kept = {key: float(own[key]) for key in ("estimate", "std_error", "p_value", "conf_low", "conf_high")}
        rows.append({"window": window, "variable": variable, **kept, "status": OK, "reason": ""})
    columns = [
        "window", "variable", "estimate", "std_error", "p_value", "conf_low", "conf_high", "status", "reason",
    ]  # fmt: skip
    data = pd.DataFrame(rows).reindex(columns=columns)
    if not (data["status"] == OK).any():
        first = rows[0]
        raise FitError(str(first["status"]), f"no window could be estimated; the first: {first['reason']}")
    failed = data.loc[data["status"] != OK, "window"]
    said = (f"not estimated: {', '.join(map(str, failed))} days",) if len(failed) else ()
    return data, (*notes, *said)


def _with_window(model: ModelSpec, vary: str, window: int) -> tuple[ModelSpec, str]:
    """Return the model with another window, and the variable that has it."""
    from coalition_exit.coding.rules import load_rules

    named = f"{vary.rstrip('0123456789')}{window}"
    rule = load_rules().default_for(named)
    if vary in model.choices or rule is None:
        # Beyond the windows that have names, or under a rule of the file's choice, the window is a parameter.
        changed = model.coding[vary].with_parameters({"window": window}, vary)
        choices = {**model.choices, vary: {"window": window}}
        return dataclasses.replace(model, coding={**model.coding, vary: changed}, choices=choices), vary
    coding = {name: kept for name, kept in model.coding.items() if name != vary} | {named: rule}
    covariates = tuple(named if name == vary else name for name in model.covariates)
    return dataclasses.replace(model, covariates=covariates, coding=coding), named
