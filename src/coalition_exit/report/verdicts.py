"""The table of verdicts on an objection, made from ``verdicts.csv``."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from coalition_exit.report.grid import Grid
from coalition_exit.report.numbers import format_a2, format_count
from coalition_exit.specs.loading import Spec

_MOST_NAMED = 8
_FEW = 10
_NULL = "not distinguishable from zero: the 95% interval includes 0, which does not show that the effect is 0"
_NOW = "now distinguishable from zero: the reference's interval included 0, this one does not"
RULES: Mapping[str, str] = {
    "unchanged": "unchanged: the same estimate and error",
    "holds": "holds: same sign, the 95% interval still excludes 0, and the estimate, where sizes are compared, moves "
    "by no more than one standard error of the reference",
    "stronger": "stronger: same sign, the 95% interval still excludes 0, and the estimate moves away from 0 by more "
    "than one standard error of the reference",
    "weaker": "weaker, but the interval still excludes 0: same sign, and the estimate moves towards 0 by more than one "
    "standard error of the reference",
    "weaker_null": "weaker: interval now includes 0: same sign, and so near 0 that the reference's own interval, laid "
    "around it, would include 0 too",
    "less_precise": "less precise: interval now includes 0: same sign; the interval includes 0 because it is "
    "wider than the reference's own, which laid around this estimate would exclude 0",
    "lost": "interval now includes 0: same sign, on another scale",
    "sign_changes": "sign changes: of a finding whose interval excluded 0",
    "reversed": "sign changes: of a finding whose interval excluded 0",
    "still_null": _NULL,
    "still_null_other_sign": _NULL,
    "appears": _NOW,
    "appears_as_expected": _NOW,
    "appears_against": _NOW,
}


def verdict_key(table: str) -> str:
    """Return the name of the verdicts of a table; its files bear it."""
    return f"{table}_verdict"


def verdict_grid(spec: Spec, verdicts: pd.DataFrame, exits: pd.DataFrame, source_note: str) -> Grid | None:
    """Arrange the verdicts on one specification's objection; None when there is nothing to judge.

    Parameters
    ----------
    spec
        Labels, and the objection.
    verdicts, exits
        Rows of ``verdicts.csv`` and ``verdict_exits.csv``.
    source_note
        What the data are.
    """
    block = spec.objection
    own = verdicts[verdicts["table"] == spec.table]
    if block is None or not len(own):
        return None
    rows: list[tuple[str, ...]] = []
    for term in block.focus:
        mine = own[own["term"] == term]
        for reference, judged in mine.groupby("reference", sort=False):
            rows.append(_reference(spec, term, str(reference), judged.iloc[0]))
            rows += [_row(spec, r) for r in judged.to_dict("records")]
    heads = ("", "Coefficient", "95% interval", "p", "Moved by", "Exits", "Subjects", "Verdict")
    title = f"Verdict. {spec.title}"
    return Grid(verdict_key(spec.table), title, heads, tuple(rows), tuple(_notes(spec, own, exits, source_note)))


def _reference(spec: Spec, term: str, key: str, row: pd.Series) -> tuple[str, ...]:
    label = _head(spec, key)
    estimate, error = row["reference_estimate"], row["reference_std_error"]
    low, high, p = (row[f"reference_{name}"] for name in ("conf_low", "conf_high", "p_value"))
    expected = {"either": "either sign"}.get(row["expected"], f"{row['expected']} expected")
    said = "reference" if pd.notna(estimate) else "reference: no estimate"
    return (f"{spec.label_of(term)} ({expected}): {label}", *_numbers(estimate, error, low, high, p), "", "", "", said)


def _head(spec: Spec, key: str) -> str:
    return next((model.head for model in spec.models if model.key == key), key)


def _row(spec: Spec, row: Mapping[str, object]) -> tuple[str, ...]:
    numbers = _numbers(*(row[name] for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value")))
    moved = row["difference_in_errors"]
    said = str(row["said"])
    if row["verdict"] in ("not_estimable", "no_reference") and row["reason"]:
        said = f"{said}: {str(row['reason']).rstrip('.')}"
    instead = f", {spec.label_of(str(row['variable']))}" if _is_another(row) else ""
    return (
        f"   {row['label']}{instead}", *numbers, "" if pd.isna(moved) else f"{moved:+.2f}",
        _changed(row["exits_gained"], row["exits_lost"]), _changed(row["subjects_gained"], row["subjects_lost"]), said,
    )  # fmt: skip


def _is_another(row: Mapping[str, object]) -> bool:
    """Whether a model has another variable in the place of the reference's."""
    return row["variable"] not in ("", row["term"])


def _numbers(estimate: object, error: object, low: object, high: object, p: object) -> tuple[str, str, str]:
    if pd.isna(estimate):
        return "", "", ""
    shown = [format_a2(float(str(value))) for value in (estimate, error, low, high)]
    return f"{shown[0]} ({shown[1]})", f"{shown[2]} to {shown[3]}", f"{float(str(p)):.3f}"


def _changed(gained: object, lost: object) -> str:
    if pd.isna(gained) or pd.isna(lost):
        return ""
    parts = [
        f"+{format_count(float(str(gained)))}" if gained else "",
        f"-{format_count(float(str(lost)))}" if lost else "",
    ]
    return " ".join(part for part in parts if part) or "same"


def _notes(spec: Spec, own: pd.DataFrame, exits: pd.DataFrame, source_note: str) -> list[str]:
    block = spec.objection
    assert block is not None
    words = [RULES[word] for word in RULES if (own["verdict"] == word).any()]
    notes = [f"Objection ({block.who}): {block.claim}", f"What changes: {block.changes}"]
    notes += [f"What these data cannot answer: {block.limits}"] if block.limits else []
    notes += _named(spec, exits)
    notes.append(
        "Errors in parentheses. Moved by: difference from the reference in its standard errors, not a test, since both "
        "are fitted to much the same data. Exits and subjects gained and lost against the reference."
    )
    notes += [f"Verdicts: {'; '.join(dict.fromkeys(words))}."] if words else []
    few = ", ".join(f"{label} ({events:.1f})" for label, events in _events(spec, own).items() if events < _FEW)
    if few:
        notes.append(f"Fewer than {_FEW} events per variable, so that estimates may be unstable: {few}.")
    if any(_is_another(row) for row in own.to_dict("records")):
        notes.append(
            "A variable after a model's name stands there in the place of the reference's; its scale may differ."
        )
    if (own["reason"].str.contains("another scale")).any():
        notes.append("Where nothing stands under 'Moved by', the coefficient is on another scale.")
    return [*notes, f"Data: {source_note}."]


def _events(spec: Spec, own: pd.DataFrame) -> dict[str, float]:
    """Return the events per variable of each model that is judged, the references first."""
    events = {_head(spec, r.reference): r.reference_events_per_variable for r in own.itertuples(index=False)
              if pd.notna(r.reference_events_per_variable)}  # fmt: skip
    return events | {r.label: r.events_per_variable for r in own.itertuples(index=False)}


def _named(spec: Spec, exits: pd.DataFrame) -> list[str]:
    """Name the exits that a model gains or loses, where they are few."""
    said = []
    for model in spec.models:
        own = exits[(exits["table"] == spec.table) & (exits["model"] == model.key) & (exits["state"] != "")]
        for what in ("gained", "lost"):
            changed = own[own["what"] == what]
            if 0 < len(changed) <= _MOST_NAMED:
                names = "; ".join(f"{r.state}, {r.war}, {r.date}" for r in changed.itertuples(index=False))
                said.append(f"Exits {what} under {model.head}: {names}.")
    return said
