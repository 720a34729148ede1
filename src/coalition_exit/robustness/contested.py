"""Which facts of the record are contested, how sure they are, and what is drawn for them."""

from __future__ import annotations

import pandas as pd

from coalition_exit.record.loading import Record
from coalition_exit.robustness.draws import READINGS, RecordDrawer
from coalition_exit.robustness.exit_dates import ByConfidence, by_confidence
from coalition_exit.specs.robustness_blocks import Uncertainty

CASE_COLUMNS = ("kind", "war", "state", "spell", "date", "fact", "coded", "confidence", "drawn", "number")


def contested_cases(record: Record, parameters: Uncertainty) -> pd.DataFrame:
    """List the contested attributes and dates of exits, a row a fact.

    Returns
    -------
    DataFrame
        Columns `CASE_COLUMNS`: kind ("exits" or "dates"), war, state, spell, date as coded, fact (a column of
        ``exits.csv``), coded, confidence, drawn (what ``number`` is: the probability that a draw has another value,
        the probability that "unclear" is read as the value named, or the standard deviation in days) and number.
    """
    drawer = RecordDrawer(record, parameters)
    wars = dict(zip(record["wars"]["warnum"], record["wars"]["name"], strict=True))
    states = dict(zip(record["states"]["ccode"], record["states"]["name"], strict=True))
    exits = record["exits"]
    flips = by_confidence(exits, parameters.flips)
    rows = []
    for k, row in enumerate(exits.itertuples(index=False)):
        head = {"war": wars[row.warnum], "state": states[row.ccode], "spell": row.spell, "date": str(row.date.date())}
        head["confidence"] = row.confidence
        for fact in parameters.attributes:
            coded = getattr(row, fact)
            entry = {"kind": "exits", **head, "fact": fact, "coded": coded}
            if coded == "unclear":
                first = READINGS.get(fact, ("yes", "no"))[0]
                rows.append(entry | {"drawn": f"probability of {first}", "number": parameters.unclear})
            elif flips[k] > 0 and drawer.may_flip(k, fact):
                rows.append(entry | {"drawn": "probability of another value", "number": flips[k]})
    for candidate in drawer.dates.candidates:
        row = exits.iloc[candidate.exit]
        rows.append(
            {
                "kind": "dates", "war": wars[row["warnum"]], "state": states[row["ccode"]], "spell": row["spell"],
                "date": str(row["date"].date()), "fact": "date", "coded": str(row["date"].date()),
                "confidence": row["confidence"], "drawn": "standard deviation in days", "number": candidate.sd,
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(CASE_COLUMNS))
    return frame[frame["kind"].isin(parameters.kinds)].reset_index(drop=True)


def drawn_numbers(record: Record, parameters: Uncertainty) -> pd.DataFrame:
    """Count the rows of fronts and losses that are drawn, by table and confidence, with the spread of each."""
    rows = []
    tables: dict[str, list[tuple[str, ByConfidence, str]]] = {
        "fronts": [
            ("deployments", parameters.shares, "sd of log share"),
            ("deployments", parameters.absent, "probability of absence"),
        ],
        "losses": [
            ("losses", parameters.losses, "sd of log losses"),
            ("members", parameters.losses, "sd of log total"),
        ],
    }
    for kind in parameters.kinds:
        for table, block, what in tables.get(kind, []):
            counts = record[table]["confidence"].value_counts()
            for confidence in ("high", "medium", "low"):
                number = getattr(block, confidence)
                entry = {"kind": kind, "table": table, "confidence": confidence, "rows": int(counts.get(confidence, 0))}
                rows.append(entry | {"drawn": what, "number": number})
    return pd.DataFrame(rows, columns=["kind", "table", "confidence", "rows", "drawn", "number"])
