"""Tables of the robustness tools, made from their files of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from coalition_exit.report.grid import Grid
from coalition_exit.report.numbers import format_a2, format_count
from coalition_exit.specs.loading import Spec

_WHO = {"all": "all", "independent": "own fronts", "common": "common fronts"}
_QUESTIONS = {"interval includes zero": "interval includes 0", "sign changes": "sign changes"}
_ANSWERS = {"already": "already at 0", "no estimate": "no estimate"}


def robustness_grids(spec: Spec, frames: Mapping[str, pd.DataFrame], said: Mapping[str, str], note: str) -> list[Grid]:
    """Arrange the numbers of one specification's blocks.

    Parameters
    ----------
    spec
        Labels; with an objection only its focus terms are shown, the files have all.
    frames
        Numbers by name of their file.
    said
        Settings for the notes, by the same names.
    note
        What the data are.
    """
    makers: dict[str, Callable[[Spec, pd.DataFrame, str], Grid]] = {
        "bought_off": _bought_off, "overturning": _overturning, "e_values": _e_values, "simulation": _simulation,
        "uncertainty": _uncertainty, "influence": _influence, "recoding": _recoding,
    }  # fmt: skip
    grids = []
    for name, make in makers.items():
        if name in frames:
            settings = f"{said[name][:1].upper()}{said[name][1:].rstrip('.')}." if said.get(name) else ""
            grid = make(spec, frames[name], settings)
            notes = tuple(text for text in (*grid.notes, f"Data: {note}.") if text)
            grids.append(Grid(grid.key, grid.title, grid.heads, grid.rows, notes))
    if "uncertainty" in frames and (frames["uncertainty"]["drawn"] != "all").any():
        grids.append(_uncertainty_by_kind(spec, frames["uncertainty"], f"Data: {note}."))
    return grids


def _in_focus(spec: Spec, frame: pd.DataFrame) -> pd.DataFrame:
    if spec.objection is None:
        return frame
    own = frame[frame["term"].isin(list(spec.objection.focus))]
    return own if len(own) else frame


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{format_a2(low)} to {format_a2(high)}"


def _with_error(value: float, error: float) -> str:
    return "" if pd.isna(value) else f"{format_a2(value)} ({format_a2(error)})"


def _p(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0%}"


def _bought_off(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows: list[tuple[str, ...]] = [
        (spec.label_of(r.term), f"{r.share:g}", _with_error(r.estimate, r.std_error),
         _interval(r.conf_low, r.conf_high), _p(r.p_value), _with_error(r.direct_estimate, r.direct_std_error),
         f"{r.n_bought_off:.1f}" if pd.notna(r.n_bought_off) else "", "" if r.status == "ok" else r.reason)
        for r in _in_focus(spec, table).sort_values(["term", "share"], key=_order(spec)).itertuples(index=False)
    ]  # fmt: skip
    heads: tuple[str, ...] = (
        "",
        "Share",
        "Imputed",
        "95% interval",
        "p",
        "By offset",
        "Exits imputed",
        "Not estimated",
    )
    shown, heads = _without_empty(rows, heads)
    where, observed = table["where"].iloc[0], format_count(table["n_observed"].iloc[0])
    notes = (
        f"Coefficients if this share of the exits that would have come where {where} had been bought off; {observed} "
        "exits were observed there. Imputed: missing exits drawn by the fitted hazard, combined by Rubin's rules, "
        "errors in parentheses. By offset: the same without a random part.",
        settings,
    )
    return Grid(f"{spec.table}_bought_off", "Coefficients by the share of exits bought off", heads, shown, notes)


def _order(spec: Spec) -> Callable[[pd.Series], pd.Series]:
    rank = {term: k for k, term in enumerate(spec.order)}
    return lambda column: column.map(rank) if column.name == "term" else column


def _without_empty(
    rows: Sequence[tuple[str, ...]], heads: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Leave out the last column where it is empty."""
    if any(row[-1] for row in rows):
        return tuple(rows), heads
    return tuple(row[:-1] for row in rows), heads[:-1]


def _overturning(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows = []
    for r in _in_focus(spec, table).itertuples(index=False):
        answer = _ANSWERS.get(r.answer, r.answer) if r.answer != "found" else f"{r.share:.3f}"
        # At the share found a bound or the estimate is zero but for the search's last step.
        at = f"{r.estimate:.2f} ({r.conf_low:.2f} to {r.conf_high:.2f})" if r.answer != "no estimate" else r.reason
        hidden = f"{r.hidden:.2f}" if r.answer == "found" else ""
        question = _QUESTIONS.get(r.reading, r.reading)
        rows.append((r.where, format_count(r.n_observed), spec.label_of(r.term), question, answer, hidden, at))
    bound = f"{table['bound'].iloc[0]:g}"
    notes = (
        "The smallest share of the exits on such days that would have to have been bought off for the finding to fall "
        f"(shares up to {bound} tried), and how many that is for each exit observed there. The last column has the "
        "coefficient at that share, or at the largest share tried. Model with an offset; nothing is random.",
        settings,
    )
    heads = ("Bought off where", "Exits seen", "", "Question", "Share", "A seen exit hides", "Coefficient there")
    return Grid(f"{spec.table}_overturning", "How strong compensation would have to be", heads, tuple(rows), notes)


def _with_interval(value: float, low: float, high: float) -> str:
    return "" if pd.isna(value) else f"{format_a2(value)} ({_interval(low, high)})"


def _e_values(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows = tuple(
        (spec.label_of(r.term), format_a2(r.contrast), f"{r.outcome}{' *' if r.recommended else ''}",
         _with_interval(r.hazard_ratio, r.hr_low, r.hr_high), f"{r.e_value:.2f}", f"{r.e_value_bound:.2f}")
        for r in _in_focus(spec, table).itertuples(index=False)
    )  # fmt: skip
    notes = (
        "E-value: the smallest risk ratio by which an unmeasured confounder would have to be tied to both the "
        "covariate and exit to explain the estimate away, and the same for the bound of its interval nearer to no "
        "effect (VanderWeele and Ding 2017). * marks the reading that the 15% rule picks; "
        f"{table['share_with_event'].iloc[0]:.1%} of the subjects leave.",
        settings,
    )
    heads = ("", "Difference", "Outcome read as", "Hazard ratio (95%)", "E-value", "Of the bound")
    return Grid(f"{spec.table}_e_values", "How strong a confounder would have to be", heads, rows, notes)


def _simulation(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows = tuple(
        (_WHO.get(r.target, r.target), f"{r.strength:g}", spec.label_of(r.term), format_a2(r.truth), format_a2(r.mean),
         _with_error(r.change, r.change_mc), _percent(r.coverage), r.reading)
        for r in table.itertuples(index=False)
    )  # fmt: skip
    failed = int(table["n_failed"].max())
    notes = (
        "Change: mean estimate less that at the smallest strength, with its Monte Carlo error. Coverage of the 95% "
        "interval. A reading is given where the change is above two Monte Carlo errors.",
        f"Up to {failed} data sets without an estimate." if failed else "",
        settings,
    )
    heads = ("Paid", "Strength", "", "Truth", "Mean", "Change", "Coverage", "The estimate")
    return Grid(f"{spec.table}_simulation", "Compensation in simulated data", heads, rows, notes)


def _uncertainty(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    heads_of = {model.key: model.head for model in spec.models}
    rows: list[tuple[str, ...]] = [
        (heads_of.get(r.model, r.model), spec.label_of(r.term), format_a2(r.reference),
         _with_error(r.estimate, r.std_error), _interval(r.conf_low, r.conf_high), _p(r.p_value),
         _percent(r.share_coding), _percent(r.share_sampling), f"{r.m:d}", r.reason)
        for r in table[table["drawn"] == "all"].itertuples(index=False)
    ]  # fmt: skip
    heads: tuple[str, ...] = (
        "Model", "", "As coded", "Drawn", "95% interval", "p", "Coding", "Sampling", "Draws", "Not estimated",
    )  # fmt: skip
    shown, heads = _without_empty(rows, heads)
    notes = (
        "Drawn: contested facts drawn as the record's confidence implies, fits combined by Rubin's rules, errors in "
        "parentheses. Coding and Sampling: shares of the variance. The draws know nothing of the outcome and tend to "
        "pull coefficients towards zero: an account of the dispute, not a correction of it.",
        settings,
    )
    return Grid(f"{spec.table}_uncertainty", "Estimates with disputed codings drawn", heads, shown, notes)


def _uncertainty_by_kind(spec: Spec, table: pd.DataFrame, data: str) -> Grid:
    heads_of = {model.key: model.head for model in spec.models}
    rows = tuple(
        (heads_of.get(r.model, r.model), spec.label_of(r.term), r.drawn, _with_error(r.estimate, r.std_error),
         format_a2(r.shift), _percent(r.share_coding))
        for r in _in_focus(spec, table).itertuples(index=False)
    )  # fmt: skip
    notes = ("Shift: the drawn estimate less the one as coded. Coding: its share of the variance.", data)
    heads = ("Model", "", "Facts drawn", "Drawn", "Shift", "Coding")
    return Grid(f"{spec.table}_uncertainty_kinds", "Which disputed codings matter", heads, rows, notes)


def _influence(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows = tuple(
        (spec.label_of(r.term), r.left_out, format_a2(r.reference), f"{format_a2(r.smallest)} ({r.smallest_without})",
         f"{format_a2(r.largest)} ({r.largest_without})", f"{r.n_other_sign} of {r.n}", f"{r.n_failed}")
        for r in _in_focus(spec, table).itertuples(index=False)
    )  # fmt: skip
    notes = ("Exact refits without each coalition, each war, each pair of coalitions.", settings)
    heads = ("", "Left out", "With all", "Smallest (without)", "Largest (without)", "Other sign", "No estimate")
    return Grid(f"{spec.table}_influence", "Estimates with something left out", heads, rows, notes)


def _recoding(spec: Spec, table: pd.DataFrame, settings: str) -> Grid:
    rows = tuple(
        (spec.label_of(r.term), r.reading, format_count(r.size) if pd.notna(r.size) else "none found",
         _yes(r.proven) if pd.notna(r.size) else "", _with_error(r.estimate_before, r.std_error_before),
         _with_error(r.estimate_after, r.std_error_after), r.said.partition(": ")[2])
        for r in table.itertuples(index=False)
    )  # fmt: skip
    recodable = table["recodable"].iloc[0]
    notes = (
        "The smallest number of recoded spells that takes away the finding's significance at "
        f"{table['level'].iloc[0]:g}, or its sign. Recodable: {recodable}. Proven: every smaller set was tried.",
        settings,
    )
    heads = ("", "What falls", "Recoded", "Proven", "As coded", "Recoded so", "How")
    return Grid(f"{spec.table}_recoding", "How few recoded exits would overturn it", heads, rows, notes)


def _yes(value: object) -> str:
    return "yes" if str(value) in ("True", "1", "1.0") else "no"
