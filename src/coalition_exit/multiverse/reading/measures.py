"""Terms that options measure in different ways: their coefficients are on different scales.

Between such options coefficients cannot be compared or averaged; what can is the effect of one standard deviation
of the variable, over the time at risk in the spec's own sample. Everything that goes across measures is on that scale;
within a measure the coefficients stand as they are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError
from coalition_exit.multiverse.reading.curves import curve_numbers, direction
from coalition_exit.multiverse.reading.decomposition import decompose
from coalition_exit.multiverse.reading.design import Design

Floats = NDArray[np.float64]
SPREAD = "variable_sd"
_SCALED = ("estimate", "std_error", "conf_low", "conf_high")
# Measures of which tables and shares are made; a sweep of many values has too many to read.
MOST_MEASURES = 100


def on_scale(specs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Return the specs' table with the terms that options measure otherwise per standard deviation.

    Raises
    ------
    DataError
        When the table does not have the standard deviations.
    """
    mixed = specs["term"].isin(list(design.measured_by))
    if not mixed.any():
        return specs
    if SPREAD not in specs:
        raise DataError("specs.parquet", f"a column {SPREAD}", "none", "Run the specification again")
    factor = specs[SPREAD].where(mixed, 1.0)
    return specs.assign(**{name: specs[name] * factor for name in _SCALED})


def scale_of(specs: pd.DataFrame, design: Design, numbers: NDArray[np.int64]) -> dict[str, Floats]:
    """Return the standard deviations by which some specs' refits are brought on the scale of `on_scale`: (N,) each."""
    found = {}
    for term in design.measured_by:
        own = specs.loc[specs["term"] == term, ["spec", SPREAD]].set_index("spec")[SPREAD]
        found[term] = own.reindex(numbers).to_numpy(dtype=np.float64)
    return found


def measures_of(specs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Return the curve of each measure of a term, in the coefficients as they are.

    Parameters
    ----------
    specs, design
        The specs' table as it is on disk, and its decisions.

    Returns
    -------
    DataFrame
        One row a term and measure: term, measure, variable_sd (median over its specs), the numbers of
        `curves.curve_numbers`, and median_per_sd.
    """
    rows = []
    for term, names in design.measured_by.items():
        own = specs[specs["term"] == term]
        side = direction(design.focus[term], (own["estimate"] * own[SPREAD]).dropna().to_numpy())
        for label, part in _by_measure(own, design, names):
            known = part[part["estimate"].notna()]
            rows.append({
                "term": term, "measure": label, "specs": len(part), SPREAD: known[SPREAD].median(),
                **curve_numbers(part, side), "median_per_sd": (known["estimate"] * known[SPREAD]).median(),
            })  # fmt: skip
    columns = ["term", "measure", "specs", SPREAD, *curve_numbers(specs.iloc[:0], 1), "median_per_sd"]
    return pd.DataFrame(rows, columns=columns)


def within_measures(specs: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Return what drives the coefficients when the measure is held: Shapley shares of the other decisions.

    Returns
    -------
    DataFrame
        term, decision, label, share (mean over measures, each counting as its specs), lowest, highest (of a measure),
        measures (that have variance to share).
    """
    rows = []
    for term, names in design.measured_by.items():
        own = specs[specs["term"] == term]
        shares, weights = [], []
        for _, part in _by_measure(own, design, names):
            found = decompose(part, design, term).decisions.set_index("decision")["shapley"]
            if found.notna().any():
                shares.append(found)
                weights.append(part["estimate"].notna().sum())
        for decision in design.decisions:
            values = np.array([found[decision.name] for found in shares])
            if decision.name not in names:
                mean = float(np.average(values, weights=weights)) if len(values) else np.nan
                rows.append((
                    term, decision.name, decision.label, mean, values.min(initial=np.inf) if len(values) else np.nan,
                    values.max(initial=-np.inf) if len(values) else np.nan, len(values),
                ))  # fmt: skip
    columns = ["term", "decision", "label", "share", "lowest", "highest", "measures"]
    return pd.DataFrame(rows, columns=columns)


def _by_measure(own: pd.DataFrame, design: Design, names: tuple[str, ...]) -> list[tuple[str, pd.DataFrame]]:
    """Split a term's rows by what measures it; nothing where the measures are too many."""
    decisions = [design.decision(name) for name in names]
    codes, listed = Design(design.table, design.title, tuple(decisions), {}, {}).codes(own)
    radix = [len(options) for options in listed]
    key = np.zeros(len(own), dtype=np.int64)
    for k, size in enumerate(radix):
        key = key * size + codes[:, k]
    present = np.unique(key)
    if len(present) > MOST_MEASURES:
        return []
    parts = []
    for value in present:
        rows = key == value
        first = codes[int(np.argmax(rows))]
        label = ", ".join(f"{d.name} {options[c]}" for d, options, c in zip(decisions, listed, first, strict=True))
        parts.append((label, own[rows]))
    return parts
