"""What is in the panel, in counts: for ``coalition-exit data describe``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from coalition_exit.coding.rules import Rule
from coalition_exit.record.loading import Record

_KEY_MEANINGS = {
    "idvar": "Subject: one state's participation in one coalition (war, side, state, spell)",
    "coalid": "Coalition: war number * 10 + side; clusters the standard errors",
    "warnum": "COW war number",
    "ccode": "COW state code",
    "side": "COW side",
    "spell": "1, or 2 for a second period of participation",
    "year": "Calendar year",
    "month": "Calendar month",
    "day": "Day of the month",
    "warday": "Day of the state's war, 1 on its first day; the analysis time",
    "start": "Start of the episode (start, stop]: warday - 1",
    "stop": "Stop of the episode: warday",
    "finalobs": "1 on the last day of the participation",
}


def count_panel(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the panel's counts: columns ``what``, ``number``."""
    counts = {
        "rows (state-days)": len(panel),
        "subjects (participations)": panel["idvar"].nunique(),
        "states in coalitions": len(panel[["coalid", "ccode"]].drop_duplicates()),
        "coalitions": panel["coalid"].nunique(),
        "wars": panel["warnum"].nunique(),
    }
    for name, label in (("withdraw", "abandonments"), ("volunt", "voluntary abandonments")):
        if name in panel:
            counts[label] = int(panel[name].sum())
    return pd.DataFrame({"what": list(counts), "number": list(counts.values())})


def exits_by_mode(record: Record, panel: pd.DataFrame) -> pd.DataFrame:
    """Return the exits of the record by mode, and how many of each count as (voluntary) abandonment."""
    last = panel[panel["finalobs"] == 1]
    key = ["warnum", "side", "ccode", "spell"]
    merged = record["exits"].merge(last[[*key, "withdraw", "volunt"]], on=key, how="left", validate="1:1")
    table = merged.groupby("mode").agg(exits=("mode", "size"), withdraw=("withdraw", "sum"), volunt=("volunt", "sum"))
    table = table.astype(int).sort_values(["exits", "withdraw"], ascending=False)
    table.loc["all"] = table.sum()
    return table.reset_index()


def describe_variables(panel: pd.DataFrame, rules: Mapping[str, Rule]) -> pd.DataFrame:
    """Return one line a column: label, meaning, minimum, mean, maximum, missing."""
    rows = []
    for name in panel.columns:
        values = panel[name].to_numpy(dtype=float)
        known = values[~np.isnan(values)]
        summary = (known.min(), known.mean(), known.max()) if len(known) else (np.nan, np.nan, np.nan)
        if name in rules:
            rule = rules[name]
            label, meaning = rule.label, rule.meaning.replace("`window`", str(rule.parameters.get("window", "")))
        else:
            label, meaning = name, _KEY_MEANINGS.get(name, "")
        rows.append((name, label, meaning, *summary, int(np.isnan(values).sum())))
    return pd.DataFrame(rows, columns=["variable", "label", "meaning", "min", "mean", "max", "missing"])
