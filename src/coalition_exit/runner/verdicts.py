"""What becomes of a finding when something is coded otherwise: each model held against the file's reference model.

The rules are stated in `WORDS` and `RULES` and applied as they stand there. A finding is "distinguishable from zero"
when its 95% interval excludes zero. Sizes are compared in standard errors of the reference, and only between
coefficients on one scale: the same estimator, and the variable itself coded by the same rule. Where a model puts
another covariate in the place of a term (``replace``), the verdict is on that one, whose scale may differ. Both models
are fitted to much the same data, so that neither the size nor the overlap of the intervals is a test of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError
from coalition_exit.runner.estimation import OK, ModelResult
from coalition_exit.runner.running import RunResult
from coalition_exit.runner.sources import RecordSource, Source
from coalition_exit.specs.models import ModelSpec

VERDICT_COLUMNS = (
    "table", "who", "reference", "kind", "model", "label", "term", "variable", "expected",
    "reference_estimate", "reference_std_error", "reference_conf_low", "reference_conf_high", "reference_p_value",
    "estimate", "std_error", "conf_low", "conf_high", "p_value", "difference", "difference_in_errors",
    "same_sign", "sign_as_expected", "reference_excludes_zero", "excludes_zero", "intervals_overlap",
    "exits_gained", "exits_lost", "subjects_gained", "subjects_lost", "n_event", "events_per_variable",
    "reference_events_per_variable",
    "verdict", "said", "reason",
)  # fmt: skip
EXIT_COLUMNS = ("table", "model", "what", "state", "war", "date", "subject", "time")
COUNTED = ("exits_gained", "exits_lost", "subjects_gained", "subjects_lost")
_WHOLE = (*COUNTED, "n_event")
CODED = "coding"
OTHER_SCALE = "the coefficient is on another scale, so that sizes are not compared"

WORDS: Mapping[str, str] = {
    "unchanged": "unchanged",
    "holds": "holds",
    "stronger": "stronger",
    "weaker": "weaker, but the interval still excludes 0",
    "weaker_null": "weaker: interval now includes 0",
    "less_precise": "less precise: interval now includes 0",
    "lost": "interval now includes 0",
    "sign_changes": "sign changes: interval includes 0",
    "reversed": "sign changes: interval excludes 0",
    "still_null": "was not distinguishable from zero, and is not now",
    "still_null_other_sign": "was not distinguishable from zero, and is not now; its sign differs",
    "appears": "now distinguishable from zero",
    "appears_as_expected": "now distinguishable from zero, with the expected sign",
    "appears_against": "now distinguishable from zero, against the expected sign",
    "not_in_model": "not in this model",
    "not_estimable": "not estimable",
    "no_reference": "the reference has no estimate",
}
# The order in which a summary names them: what matters most to a reader first.
ORDER = (
    "reversed", "sign_changes", "weaker_null", "less_precise", "lost", "weaker", "holds", "stronger", "unchanged",
    "appears_against", "appears_as_expected", "appears", "still_null_other_sign", "still_null",
    "not_estimable", "not_in_model", "no_reference",
)  # fmt: skip
_SAME = 1e-9


@dataclass(frozen=True)
class Finding:
    """One coefficient with its interval."""

    estimate: float
    std_error: float
    conf_low: float
    conf_high: float
    p_value: float

    @property
    def excludes_zero(self) -> bool:
        return not self.conf_low <= 0 <= self.conf_high

    @property
    def usable(self) -> bool:
        return bool(np.isfinite([self.estimate, self.std_error, self.conf_low, self.conf_high]).all())


def judge(reference: Finding | None, other: Finding | None, expected: str = "either", comparable: bool = True) -> str:
    """Return the verdict, a key of `WORDS`.

    Parameters
    ----------
    reference
        The finding as the reference model has it; None if it has no estimate.
    other
        The finding when something is coded otherwise; None if it has no estimate.
    expected
        "negative", "positive" or "either".
    comparable
        Whether both coefficients are on one scale.
    """
    if reference is None or not reference.usable:
        return "no_reference"
    if other is None or not other.usable:
        return "not_estimable"
    if comparable and _same(reference, other):
        return "unchanged"
    opposite = reference.estimate * other.estimate < 0
    if reference.excludes_zero:
        if opposite:
            return "reversed" if other.excludes_zero else "sign_changes"
        return _of_a_finding(reference, other, comparable)
    if other.excludes_zero:
        if expected == "either":
            return "appears"
        return "appears_as_expected" if _as_expected(other, expected) else "appears_against"
    return "still_null_other_sign" if opposite else "still_null"


def _of_a_finding(reference: Finding, other: Finding, comparable: bool) -> str:
    """Judge a finding that stood and keeps its sign."""
    if not comparable:
        return "holds" if other.excludes_zero else "lost"
    if other.excludes_zero:
        moved = (other.estimate - reference.estimate) * np.sign(reference.estimate) / reference.std_error
        return "weaker" if moved < -1 else "stronger" if moved > 1 else "holds"
    # An estimate that the reference's own interval would still set apart from zero has lost precision, not size.
    reach = (reference.conf_high - reference.conf_low) / 2
    return "less_precise" if abs(other.estimate) > reach else "weaker_null"


def _same(one: Finding, two: Finding) -> bool:
    size = _SAME * one.std_error
    return abs(one.estimate - two.estimate) <= size and abs(one.std_error - two.std_error) <= size


def _as_expected(finding: Finding, expected: str) -> bool:
    return expected == "either" or (finding.estimate > 0) == (expected == "positive")


def verdict_row(
    reference: Finding | None, other: Finding | None, expected: str, comparable: bool = True
) -> dict[str, Any]:
    """Return the columns of a verdict that follow from two findings; what cannot be compared is missing."""
    word = judge(reference, other, expected, comparable)
    row: dict[str, Any] = {"expected": expected, "verdict": word, "said": WORDS[word]}
    for prefix, one in (("reference_", reference), ("", other)):
        usable = one is not None and one.usable
        for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
            row[f"{prefix}{name}"] = getattr(one, name) if usable else np.nan
        row[f"{prefix}excludes_zero"] = _yes(one.excludes_zero) if one is not None and usable else ""
    if reference is None or other is None or not (reference.usable and other.usable):
        empty = {"difference": np.nan, "difference_in_errors": np.nan}
        return row | empty | {"same_sign": "", "sign_as_expected": "", "intervals_overlap": ""}
    difference = other.estimate - reference.estimate if comparable else np.nan
    overlap = other.conf_low <= reference.conf_high and reference.conf_low <= other.conf_high
    return row | {
        "difference": difference,
        "difference_in_errors": difference / reference.std_error,
        "same_sign": _yes(reference.estimate * other.estimate >= 0),
        "sign_as_expected": _yes(_as_expected(other, expected)),
        "intervals_overlap": _yes(overlap) if comparable else "",
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def finding_of(result: ModelResult, term: str) -> Finding | None:
    """Return one coefficient of a model; None if there is none."""
    if result.fit is None:
        return None
    own = result.fit.tidy()
    own = own[own["term"] == term]
    if not len(own):
        return None
    names = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
    return Finding(*(float(own[name].iloc[0]) for name in names))


def variable_of(reference: ModelSpec, one: ModelSpec, term: str) -> str:
    """Return the covariate of a model that stands in the place of a term of the reference."""
    if term in one.covariates:
        return term
    place = next((old for old, new in reference.replaced.items() if new == term), term)
    return one.replaced.get(place, place)


def comparable_in(one: ModelSpec, two: ModelSpec, term: str) -> bool:
    """Say whether a coefficient is on one scale in two models: same estimator, same variable, coded alike."""
    if one.estimator_name != two.estimator_name or variable_of(one, two, term) != term:
        return False
    rules = [model.coding.get(term) for model in (one, two)]
    identities = [None if rule is None else rule.identity for rule in rules]
    return identities[0] == identities[1]


def verdicts(result: RunResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold every other model of a specification against its reference.

    Parameters
    ----------
    result
        A run of a specification with an ``objection``.

    Returns
    -------
    verdicts : DataFrame
        A row a model and focus term, columns `VERDICT_COLUMNS`. Empty without an objection.
    exits : DataFrame
        A row an exit that a model gains or loses against the reference, columns `EXIT_COLUMNS`.
    """
    block = result.spec.objection
    rows: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    if block is not None:
        by_key = {one.model.key: one for one in result.results}
        reference = by_key.pop(block.reference)
        at_first = _Rows.of(reference, result.data)
        for key, one in by_key.items():
            counts, changed = _compare(at_first, _Rows.of(one, result.data))
            named += [{"table": result.spec.table, "model": key, **row} for row in changed]
            rows += [
                {
                    "table": result.spec.table, "who": block.who, "reference": block.reference, "kind": CODED,
                    "model": key, "label": one.model.head, "term": term, **_row(reference, one, term, expected),
                    **counts,
                }
                for term, expected in block.focus.items()
            ]  # fmt: skip
    return as_verdicts(rows), pd.DataFrame(named, columns=list(EXIT_COLUMNS))


def as_verdicts(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows of verdicts as a frame with the promised columns; counts are whole numbers."""
    frame = pd.DataFrame(list(rows), columns=list(VERDICT_COLUMNS))
    text = {"same_sign": "", "sign_as_expected": "", "intervals_overlap": "", "reason": ""}
    return frame.fillna({**text, "variable": frame["term"]}).astype(dict.fromkeys(_WHOLE, "Int64"))


def _row(reference: ModelResult, one: ModelResult, term: str, expected: str) -> dict[str, Any]:
    comparable = comparable_in(reference.model, one.model, term)
    variable = variable_of(reference.model, one.model, term)
    row = verdict_row(finding_of(reference, term), finding_of(one, variable), expected, comparable)
    row["n_event"] = one.counts["n_event"] if one.status == OK else None
    row["events_per_variable"] = _events_per_variable(one)
    row["reference_events_per_variable"] = _events_per_variable(reference)
    row["reason"] = one.reason if one.status != OK else "" if comparable else OTHER_SCALE
    if variable not in one.model.covariates:
        return row | {"verdict": "not_in_model", "said": WORDS["not_in_model"], "reason": "", "variable": ""}
    return row | {"variable": variable}


def _events_per_variable(one: ModelResult) -> float:
    events = one.counts["n_event"] if one.status == OK else None
    return np.nan if events is None else float(events / len(one.model.covariates))


@dataclass(frozen=True)
class _Rows:
    """Who is in a model, and who exits when: names of subjects, and of exits with what is known of them."""

    subjects: frozenset[Any]
    exits: Mapping[Any, dict[str, Any]]

    @classmethod
    def of(cls, one: ModelResult, source: Source | None) -> _Rows | None:
        if source is None:
            return None
        try:
            rows = source.rows(one.model)
        except (DataError, FitError):
            return None
        if isinstance(source, RecordSource):
            return _of_record(source, one.model, rows.frame, rows.event)
        frame = rows.frame
        subject = frame[rows.id] if rows.id is not None else frame.index.to_series()
        inside = rows.response.removeprefix("Surv(").split(")")[0].split(",")
        time = frame[inside[-2].strip()] if len(inside) > 1 else pd.Series(0.0, frame.index)
        chosen = (frame[rows.event] == _event_code(one.model)).to_numpy()
        exits = {
            (s, t): {"state": "", "war": "", "date": "", "subject": s, "time": t}
            for s, t in zip(subject[chosen], time[chosen], strict=True)
        }
        return cls(frozenset(subject.unique()), exits)


def _event_code(model: ModelSpec) -> int:
    """Return the value of an event: the kind modelled where the others compete with it, else 1."""
    return model.cause or 1 if model.estimator == "fine_gray" else 1


def _of_record(source: RecordSource, model: ModelSpec, used: pd.DataFrame, event: str) -> _Rows:
    """Name subjects and exits by spell and calendar day, whatever origin time is counted from."""
    panel = source.frame([name for name in model.variables if name in model.coding], model.coding)
    columns = ["warnum", "side", "ccode", "spell", "year", "month", "day"]
    keys = panel.loc[used.index, columns]
    spells = frozenset(map(tuple, keys[columns[:4]].drop_duplicates().to_numpy().tolist()))
    exits = {}
    chosen = (used[event] == _event_code(model)).to_numpy()
    timed = zip(keys[chosen].to_numpy().tolist(), used.loc[chosen, ["idvar", "stop"]].to_numpy().tolist(), strict=True)
    for key, (subject, time) in timed:
        exits[tuple(key)] = {
            "state": source.name_group("ccode", key[2]), "war": source.name_group("warnum", key[0]),
            "date": f"{key[4]:04d}-{key[5]:02d}-{key[6]:02d}", "subject": int(subject), "time": time,
        }  # fmt: skip
    return _Rows(spells, exits)


def _compare(reference: _Rows | None, other: _Rows | None) -> tuple[dict[str, int | None], list[dict[str, Any]]]:
    """Count and name what a recoding gains and loses."""
    if reference is None or other is None:
        return dict.fromkeys(COUNTED), []
    gained = [other.exits[key] for key in sorted(other.exits.keys() - reference.exits.keys())]
    lost = [reference.exits[key] for key in sorted(reference.exits.keys() - other.exits.keys())]
    counts: dict[str, int | None] = {
        "exits_gained": len(gained),
        "exits_lost": len(lost),
        "subjects_gained": len(other.subjects - reference.subjects),
        "subjects_lost": len(reference.subjects - other.subjects),
    }
    return counts, [{"what": "gained", **row} for row in gained] + [{"what": "lost", **row} for row in lost]


def summarize(own: pd.DataFrame, labels: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Count the verdicts on one specification: a row (term, "2 of 5", words) for each that was reached on a term."""
    rows = []
    for term, judged in own.groupby("term", sort=False):
        label = (labels or {}).get(str(term), str(term))
        counts = judged["verdict"].value_counts()
        rows += [(label, f"{counts[word]} of {len(judged)}", WORDS[word]) for word in ORDER if word in counts]
    return rows
