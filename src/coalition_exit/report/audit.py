"""A run compared with the printed article, cell by cell, ending in the data editors' four classes.

The classes and the bound of 25% are those of the report template of the AEA Data Editor (REPLICATION.md in
the repository AEADataEditor/replication-template, section "Classification"), to which the verification
guidance of the Social Science Data Editors points. What the template leaves to judgement is made explicit in
:data:`RULES`; signs and significance are weighed here, not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from coalition_exit.report.audit_cells import Key, PrintedCell
from coalition_exit.report.numbers import format_a2, stars

EQUAL, UNCLEAR, DIFFERS = "equal", "unclear", "differs"
NOT_PRINTED, NOT_PRODUCED = "not printed", "not produced"
FULL, MINOR = "full reproduction", "full reproduction with minor issues"
PARTIAL, NOT_REPRODUCED = "partial reproduction", "not able to reproduce most or all of the results"
NOTHING_TYPED = "nothing typed"

# Shares of the typed cells: of the template, more than this different is partial, less than this right is failure.
MOST_DIFFERENT = LEAST_RIGHT = 0.25
MOST_REVERSED = 0.5
# A difference is small up to one unit of the last printed digit, as rounded, or this share of the number.
_UNITS, _SHARE = Decimal("1.5"), Decimal("0.01")
# What is allowed for the computer's own rounding, in units of the last digit and as a share of the number.
_SLACK, _RELATIVE = Decimal("1e-9"), Decimal("1e-12")

RULES = (
    (FULL, "Every typed cell is equal at printed precision, stars included."),
    (
        MINOR,
        "Every typed cell is produced; none changes its sign or significance; no difference is larger than one unit"
        " of the last printed digit or 1%; and at most 25% of the cells differ or are unclear.",
    ),
    (PARTIAL, "Anything between the second class and the last."),
    (
        NOT_REPRODUCED,
        "Fewer than 25% of the typed cells are equal or differ that little, or more than half of the typed"
        " coefficients change their sign or significance.",
    ),
)
SOURCE = (
    "The classes are those of the AEA Data Editor's report template, which puts partial at more than 25% of the"
    " numbers different and failure at fewer than 25% generated; it allows a full reproduction a few insignificant"
    " changes, which here are minor issues. What is said of sign and significance is this package's own."
)
MEANINGS = (
    "A cell is equal where the computed number lies within half a unit of the last printed digit, and the stars"
    " are the same.",
    "It is unclear where it equals the digits in the file, which are fewer than these tables print: a spreadsheet"
    " program may have saved 0.50 as 0.5. The column 'decimals' settles it.",
    "Counts are not rounded: a count is equal or it differs, and it differs little up to 1%.",
)
FRAME_COLUMNS = (
    "table", "model", "term", "part", "title", "column", "row", "data", "printed", "printed_value", "decimals",
    "computed", "result", "difference", "units", "small", "sign_differs", "stars_printed", "stars_computed",
    "p_value", "significance_differs", "reason",
)  # fmt: skip
CLASS_COLUMNS = (
    "table", "title", "class", "typed", "equal", "unclear", "small", "large", "not_produced", "sign",
    "significance", "not_printed",
)  # fmt: skip
OVERALL = "all"


@dataclass(frozen=True, eq=False)
class Audit:
    """A comparison of a run with the printed article.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row a cell of the tables, typed or not, in :data:`FRAME_COLUMNS`; numbers in full precision.
    classes : pandas.DataFrame
        One row a table and a last one, "all", with the class and the counts behind it.
    lead : str
        What is compared with what; says where equality is not to be expected.
    remarks : tuple of str
        What else a reader must know.
    """

    frame: pd.DataFrame
    classes: pd.DataFrame
    lead: str
    remarks: tuple[str, ...]

    @property
    def overall(self) -> str:
        """Class of all typed cells together."""
        return str(self.classes["class"].iloc[-1])


def audit(
    estimates: pd.DataFrame,
    models: pd.DataFrame,
    published: pd.DataFrame,
    cells: Sequence[PrintedCell],
    note: str,
    reconstructed: bool,
    further: Mapping[Key, float] | None = None,
) -> Audit:
    """Compare the results of a run with the printed cells.

    Parameters
    ----------
    estimates, models
        Rows of ``estimates.csv`` and ``models.csv``.
    published
        What :func:`~coalition_exit.report.audit_cells.read_published` returned.
    cells
        The cells there are.
    note
        What the data of the run are.
    reconstructed
        Whether they are a reconstruction and not the data behind the article.
    further
        Computed numbers of cells that stand in neither file, such as those of a cross-tabulation, by table,
        model, term and part; parts that begin with ``n_`` are counts.

    Returns
    -------
    Audit

    Notes
    -----
    Significance is compared only where the file holds at least one mark of significance; a coefficient typed
    without one then counts as printed without one.
    """
    typed = {(r.table, r.model, r.term, r.part): r for r in published.itertuples(index=False)}
    starred = bool((published["stars"] != "").any())
    found = {(r.table, r.model, r.term): r for r in estimates.itertuples(index=False)}
    ran = {(r.table, r.model): r._asdict() for r in models.itertuples(index=False)}
    data = "reconstruction" if reconstructed else "the article's"
    rows = []
    for cell in cells:
        ready = (further or {}).get(cell.key)
        row = _computed(cell, found.get(cell.key[:3]), ran.get(cell.key[:2]) if ready is None else {cell.part: ready})
        row |= _compared(cell.part, row, typed.get(cell.key), starred)
        rows.append({"title": cell.title, "column": cell.column, "row": cell.row, "data": data} | row)
    frame = pd.DataFrame(rows, columns=list(FRAME_COLUMNS))
    return Audit(frame, _classes(frame), _lead(note, reconstructed), _remarks(frame, starred))


def _lead(note: str, reconstructed: bool) -> str:
    if not reconstructed:
        return f"Compared with the printed article: {note}."
    return (
        "Equality with the article is not to be expected: this compares a reconstruction of the data, not the"
        f" author's file, with the printed article. Data: {note}."
    )


def _remarks(frame: pd.DataFrame, starred: bool) -> tuple[str, ...]:
    remarks = []
    n = int((frame["result"] != NOT_PRINTED).sum())
    remarks.append(f"{n} of {len(frame)} cells are typed; the others are not compared. Figures are not compared.")
    if n and not starred:
        remarks.append("No mark of significance is typed: significance is not compared.")
    return tuple(remarks)


def _computed(cell: PrintedCell, estimate: Any, model: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the run has for a cell, or why it has nothing."""
    row: dict[str, Any] = {"table": cell.table, "model": cell.model, "term": cell.term, "part": cell.part}
    value, p_value, reason = None, None, ""
    if model is None:
        reason = "it was not run"
    elif cell.part not in ("coef", "se"):
        value = model.get(cell.part)
    elif estimate is not None:
        value = estimate.estimate if cell.part == "coef" else estimate.std_error
        p_value = estimate.p_value if cell.part == "coef" else None
    if value is None or pd.isna(value):
        value = None
        reason = reason or str((model or {}).get("reason") or "") or "the model has no such number"
    return row | {"computed": value if value is None else float(value), "p_value": p_value, "reason": reason}


def _compared(part: str, row: dict[str, Any], typed: Any, starred: bool) -> dict[str, Any]:
    """Return the columns that tell a cell's result."""
    same: dict[str, Any] = {"small": False, "sign_differs": False, "significance_differs": False}
    if part == "coef" and row["p_value"] is not None:
        same["stars_computed"] = stars(row["p_value"])
    if typed is None:
        return same | {"result": NOT_PRINTED, "reason": ""}
    printed = Decimal(typed.number)
    same |= {"printed": typed.printed, "printed_value": float(printed), "decimals": int(typed.decimals)}
    if part == "coef" and starred:
        same["stars_printed"] = typed.stars
    if row["computed"] is None:
        return same | {"result": NOT_PRODUCED}
    gap = Decimal(row["computed"]) - printed
    unit = Decimal(1).scaleb(-int(typed.decimals))
    result = _agreement(part, row["computed"], printed, int(typed.decimals), bool(typed.exact))
    sign = part == "coef" and result == DIFFERS and gap != 0 and printed * Decimal(row["computed"]) < 0
    significance = "stars_printed" in same and same["stars_printed"] != same["stars_computed"]
    if significance:
        result = DIFFERS
    close = abs(gap) <= _SHARE * abs(printed) or (not part.startswith("n_") and abs(gap) <= _UNITS * unit)
    return same | {
        "result": result, "difference": float(gap), "units": float(gap / unit),
        "small": result == DIFFERS and close and not sign and not significance,
        "sign_differs": sign, "significance_differs": significance,
    }  # fmt: skip


def _agreement(part: str, computed: float, printed: Decimal, decimals: int, exact: bool) -> str:
    if not _rounds_to(computed, printed, decimals):
        return DIFFERS
    shown = format_a2(computed).partition(".")[2]
    if exact or part not in ("coef", "se") or "e" in shown or len(shown) <= decimals:
        return EQUAL
    return EQUAL if _rounds_to(computed, printed, len(shown)) else UNCLEAR


def _rounds_to(computed: float, printed: Decimal, decimals: int) -> bool:
    """Whether a number is within half a unit of the last digit; at exact halves both roundings are right."""
    unit = Decimal(1).scaleb(-decimals)
    exact = Decimal(computed)
    return abs(exact - printed) <= unit / 2 + unit * _SLACK + abs(exact) * _RELATIVE


def _classes(frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for table in dict.fromkeys(frame["table"]):
        own = frame[frame["table"] == table]
        rows.append({"table": table, "title": own["title"].iloc[0], **_counts(own)})
    rows.append({"table": OVERALL, "title": "All tables", **_counts(frame)})
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


def _counts(cells: pd.DataFrame) -> dict[str, Any]:
    results = cells["result"].value_counts()
    small = int(cells["small"].sum())
    counts = {
        "typed": int(len(cells) - results.get(NOT_PRINTED, 0)),
        "equal": int(results.get(EQUAL, 0)),
        "unclear": int(results.get(UNCLEAR, 0)),
        "small": small,
        "large": int(results.get(DIFFERS, 0)) - small,
        "not_produced": int(results.get(NOT_PRODUCED, 0)),
        "sign": int(cells["sign_differs"].sum()),
        "significance": int(cells["significance_differs"].sum()),
        "not_printed": int(results.get(NOT_PRINTED, 0)),
    }
    compared = cells[(cells["part"] == "coef") & (cells["result"] != NOT_PRINTED)]
    reversed_ = int((compared["sign_differs"] | compared["significance_differs"]).sum())
    return counts | {"class": classify(counts, len(compared), reversed_)}


def classify(counts: dict[str, int], coefficients: int, reversed_: int) -> str:
    """Return the class of a set of typed cells; :data:`RULES` says the same in words.

    Parameters
    ----------
    counts
        Typed cells by result: ``typed``, ``equal``, ``unclear``, ``small``, ``large``, ``not_produced``.
    coefficients, reversed_
        Typed coefficients, and those of them that change sign or significance.
    """
    typed, equal = counts["typed"], counts["equal"]
    nearly = counts["unclear"] + counts["small"]
    if not typed:
        return NOTHING_TYPED
    if equal == typed:
        return FULL
    if equal + nearly == typed and nearly <= MOST_DIFFERENT * typed:
        return MINOR
    if equal + nearly < LEAST_RIGHT * typed or (coefficients and reversed_ > MOST_REVERSED * coefficients):
        return NOT_REPRODUCED
    return PARTIAL
