"""The result of `stset`: the records used, the counts, and the output as Stata prints it."""

from __future__ import annotations

import html
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from coalition_exit.survival.curves.curves import kaplan_meier
from coalition_exit.survival.data.surv import Surv

_LINE = "-" * 74
SINGLE_RECORD = "single-record/single-failure"
_PROBABLE_ERRORS = ("time_missing", "entry_missing", "entry_after_exit", "same_instant", "overlapping")


@dataclass(frozen=True, kw_only=True)
class StsetReport:
    """Counts of `stset`, in the order and the categories of Stata's output.

    Attributes
    ----------
    total : int
        Records in the data.
    ignored_at_outset ... after_exit : int
        Records not used, each counted once, under the first rule that leaves it out.
    remaining, subjects, failures : int
        Records used, their subjects (records without ``id``), failures among them.
    still_at_risk : int
        Subjects with records after their failure; counted in single-failure data.
    time_at_risk : float
        Sum of ``_t - _t0``.
    first_entry, last_exit : float
        Smallest ``_t0`` and largest ``_t``.
    failure_missing : int
        Records used whose failure variable is missing: censored, as in Stata, which does not
        print the number.
    kind : str
        "single-record/single-failure", "single-failure-per-subject" or
        "multiple-failure-per-subject".
    """

    total: int
    ignored_at_outset: int = 0
    id_missing: int = 0
    time_missing: int = 0
    entry_missing: int = 0
    entry_after_exit: int = 0
    same_instant: int = 0
    overlapping: int = 0
    ignored_request: int = 0
    never_entered: int = 0
    before_enter: int = 0
    before_origin: int = 0
    after_exit: int = 0
    remaining: int
    subjects: int
    failures: int
    still_at_risk: int
    time_at_risk: float
    first_entry: float
    last_exit: float
    failure_missing: int
    kind: str

    def to_frame(self) -> pd.DataFrame:
        """One row a count: ``quantity``, ``value``."""
        names = [f.name for f in fields(self)]
        return pd.DataFrame({"quantity": names, "value": [getattr(self, name) for name in names]})


@dataclass(frozen=True, eq=False)
class Stset:
    """What `stset` returns.

    Attributes
    ----------
    data : DataFrame
        The records used, sorted by subject and time if there is an ``id``, with the columns
        ``_st`` (1), ``_d`` (1 failure, 0 censored), ``_origin`` (if it differs between subjects),
        ``_t`` and ``_t0``: ready for ``Surv(_t0, _t, _d)``.
    record : DataFrame
        One row for each row given, in its order and with its index: ``_st``, ``_d``, ``_origin``,
        ``_t``, ``_t0`` and ``why``, the category that leaves it out ("" if it is used).
    report : StsetReport
        Counts.
    settings : tuple of (str, str)
        The declaration as Stata prints it.
    id : str or None
        Column of the subjects.
    """

    data: pd.DataFrame = field(repr=False)
    record: pd.DataFrame = field(repr=False)
    report: StsetReport
    settings: tuple[tuple[str, str], ...]
    id: str | None
    _phrases: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def surv(self) -> Surv:
        """Response of the records used."""
        return Surv(self.data["_t0"].to_numpy(), self.data["_t"].to_numpy(), self.data["_d"].to_numpy())

    def kaplan_meier(self, by: str | Sequence[str] | None = None, **options: Any) -> dict[Hashable, Any]:
        """Kaplan-Meier curves of the records used, by group, as `curves.kaplan_meier` gives them."""
        return kaplan_meier("Surv(_t0, _t, _d)", self.data, by=by, id=self.id, **options)

    def __str__(self) -> str:
        head = [f"{label:>22}: {text}" for label, text in self.settings]
        return "\n".join(["Survival-time data settings", "", *head, "", _LINE, *self._counts(), _LINE, *self._foot()])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _counts(self) -> list[str]:
        report = self.report
        lines = [_count(report.total, "total observation" + plural_s(report.total))]
        for name, text in self._phrases:
            number = getattr(report, name)
            if number:
                label, _, below = plural(text, number).partition("\n")
                error = "PROBABLE ERROR" if name in _PROBABLE_ERRORS else ""
                lines.append(f"{_count(number, label):<60}{error}".rstrip())
                lines.extend([" " * 13 + below] if below else [])
        return lines if len(lines) > 1 else [*lines, _count(0, "exclusions")]

    def _foot(self) -> list[str]:
        report = self.report
        lines = [_count(report.remaining, f"observation{plural_s(report.remaining)} remaining, representing")]
        if report.kind != SINGLE_RECORD:
            lines.append(_count(report.subjects, "subject" + plural_s(report.subjects)))
        lines.append(_count(report.failures, f"failure{plural_s(report.failures)} in {report.kind} data"))
        if report.still_at_risk:
            verb = "subject remains" if report.still_at_risk == 1 else "subjects remain"
            lines.append(_count(report.still_at_risk, f"{verb} at risk after failure"))
        lines.append(_count(report.time_at_risk, "total analysis time at risk and under observation"))
        ends = (("At risk from", 0.0), ("Earliest observed entry", report.first_entry))
        for label, value in (*ends, ("Last observed exit", report.last_exit)):
            lines.append(f"{label + ' t = ':>65}{_number(value, 9):>9}")
        return lines


def plural(text: str, number: int) -> str:
    """Put "observations end" or "observations begin" in the singular for one record."""
    for one, many in (("observation ends", "observations end"), ("observation begins", "observations begin")):
        if text.startswith(many) and number == 1:
            return text.replace(many, one)
    return text


def plural_s(number: int) -> str:
    """Return the s of a plural, or nothing for one."""
    return "" if number == 1 else "s"


def _count(number: float, label: str) -> str:
    return f"{_number(round(number, 3), 11):>11}  {label}"


def _number(value: float, width: int) -> str:
    """Show a number as Stata's %w.0gc does: commas, as many decimals as fit (at most 7 digits if %9.0gc)."""
    for decimals in range(8, -1, -1):
        text = f"{value:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if decimals else text
        if len(text) < width and (width > 9 or sum(c.isdigit() for c in text.lstrip("-0.")) <= 7):
            return text
    return f"{value:.6g}"
