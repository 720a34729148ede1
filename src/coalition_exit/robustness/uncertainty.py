"""Estimates that own up to what historians dispute.

The record is drawn m times as its confidence implies, the panel is built and the models are fitted each time, and
Rubin's rules combine the fits: the mean of the squared clustered errors is what sampling leaves uncertain, the
variance of the estimates between draws what coding does. The draws are made of all kinds of facts together and of
each kind alone.

The drawn facts are spread around the coded ones and know nothing of the outcome. Where the record's errors are of that
kind, the totals are right; as imputations they are improper in Rubin's sense, and tend to pull coefficients towards
zero. The column ``shift`` says by how much they moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record
from coalition_exit.robustness.contested import contested_cases, drawn_numbers
from coalition_exit.robustness.draws import RecordDrawer
from coalition_exit.robustness.problem import OK, SUBJECT, Model
from coalition_exit.robustness.rubin import POOLED_COLUMNS, pool
from coalition_exit.robustness.workers import run_all
from coalition_exit.specs.robustness_blocks import Uncertainty

ALL = "all"
FEW_CLUSTERS = 40
COLUMNS = (
    "model", "drawn", "term", "reference", "estimate", "shift", "std_error", "conf_low", "conf_high", "p_value", "df",
    "within", "between", "share_coding", "share_sampling", "fmi", "m", "m_failed", "reason",
)  # fmt: skip
DRAW_COLUMNS = (
    "model", "drawn", "draw", "term", "estimate", "std_error", "n_obs", "n_subject", "n_event", "n_cluster", "status",
    "reason",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CodingUncertainty:
    """Estimates with coding and sampling taken together.

    Attributes
    ----------
    table
        A row a model, kind of facts drawn ("all" or one kind) and term, columns `COLUMNS`: the estimate as coded
        (reference), the pooled one and its difference (shift), total error, interval, within- (sampling) and
        between-draw (coding) variance, the shares of the total variance, the fraction of missing information, draws
        used and failed.
    draws
        A row a model, kind, draw and term, columns `DRAW_COLUMNS`; failed fits are rows with their reason.
    exits
        A row a spell that is an exit as coded or in some draw: model, war, state, coded (0/1) and the share of the
        draws of all kinds in which it is one.
    cases, numbers
        Contested facts with their probabilities, and rows of fronts and losses by confidence (see `contested`).
    parameters
        As given.
    """

    table: pd.DataFrame
    draws: pd.DataFrame
    exits: pd.DataFrame
    cases: pd.DataFrame
    numbers: pd.DataFrame
    parameters: Uncertainty

    @property
    def text(self) -> str:
        """The parameters and a sentence a model and term."""
        lines = [assumptions(self.parameters)]
        for row in self.table[self.table["drawn"] == ALL].itertuples(index=False):
            if row.reason:
                lines.append(f"{row.model}, {row.term}: {row.reason}")
                continue
            lines.append(
                f"{row.model}, {row.term}: {row.reference:.3f} as coded; {row.estimate:.3f} ({row.conf_low:.3f} to "
                f"{row.conf_high:.3f}) over {row.m} drawn records, of whose variance {row.share_coding:.0%} is "
                f"coding and {row.share_sampling:.0%} sampling."
            )
        return "\n".join([*lines, *self.cautions])

    @property
    def cautions(self) -> list[str]:
        """What a reader should know of the errors."""
        few = self.draws["n_cluster"].min()
        # Missing where no model has clusters.
        if pd.isna(few) or few >= FEW_CLUSTERS:
            return []
        return [f"With {int(few)} clusters, errors clustered on them are themselves uncertain."]


def assumptions(parameters: Uncertainty) -> str:
    """Say in words what the confidence was taken to mean."""
    p = parameters
    said = {
        "exits": f"attributes of exits flip with probability {_three(p.flips)}; "
        f"'unclear' is read as yes with {p.unclear:g}",
        "dates": f"dates of exits have a standard deviation of {_three(p.dates)} days",
        "fronts": f"log shares of troops {_three(p.shares)}, a row is absent with probability {_three(p.absent)}",
        "losses": f"log losses {_three(p.losses)}",
    }
    parts = "; ".join(said[kind] for kind in p.kinds)
    return f"Drawn {p.draws} times (seed {p.seed}), by confidence high/medium/low: {parts}."


def _three(block: Any) -> str:
    return f"{block.high:g}/{block.medium:g}/{block.low:g}"


def coding_uncertainty(
    models: Sequence[Model],
    record: Record,
    parameters: Uncertainty,
    *,
    jobs: int = 1,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> CodingUncertainty:
    """Draw the record, fit the models to every draw and combine the fits.

    Parameters
    ----------
    models
        Cox models (`Model.of` takes one over from a specification), keys all different.
    record
        The coded facts.
    parameters
        What confidence means, kinds, number of draws, seed.
    jobs
        Processes; the result does not depend on it.
    level
        Level of the intervals.
    progress
        Called with draws done and draws in all.

    Raises
    ------
    DataError
        No model, or two of one key.
    """
    keys = [model.key for model in models]
    if not keys or len(set(keys)) < len(keys):
        raise DataError("models", "one model or more, keys all different", ", ".join(keys) or "none")
    sets: list[tuple[str, tuple[str, ...]]] = [(ALL, tuple(parameters.kinds))]
    if parameters.separately and len(parameters.kinds) > 1:
        sets += [(kind, (kind,)) for kind in parameters.kinds]
    items = [(name, kinds, number) for name, kinds in sets for number in range(parameters.draws)]
    parts = (dict(record.tables), record.sha256, record.folder, record.status)
    found = run_all(_one_draw, _prepare, (parts, parameters, tuple(models)), items, jobs, progress)
    draws = pd.DataFrame([row for rows, _ in found for row in rows], columns=list(DRAW_COLUMNS))
    for name in ("n_obs", "n_subject", "n_event", "n_cluster"):
        draws[name] = draws[name].astype("Int64")
    panels = _Panels(models)
    coded = {model.key: _fit_rows(model, panels.of(model, record), "", 0) for model in models}
    table = _combine(models, draws, {key: rows for key, (rows, _) in coded.items()}, [name for name, _ in sets], level)
    exits = _exit_shares(record, {key: e for key, (_, e) in coded.items()}, items, [e for _, e in found])
    cases, numbers = contested_cases(record, parameters), drawn_numbers(record, parameters)
    return CodingUncertainty(table, draws, exits, cases, numbers, parameters)


Context = tuple[RecordDrawer, tuple[Model, ...]]
Exits = frozenset[tuple[int, int, int, int]]


def _prepare(parts: tuple[Any, ...], parameters: Uncertainty, models: tuple[Model, ...]) -> Context:
    tables, *rest = parts
    return RecordDrawer(Record(MappingProxyType(tables), *rest), parameters), models


def _one_draw(
    context: Context, item: tuple[str, tuple[str, ...], int]
) -> tuple[list[dict[str, Any]], dict[str, Exits]]:
    drawer, models = context
    name, kinds, number = item
    record = drawer.draw(drawer.parameters.seed, number, kinds)
    rows: list[dict[str, Any]] = []
    exits = {}
    panels = _Panels(models)
    for model in models:
        found, exits[model.key] = _fit_rows(model, panels.of(model, record), name, number)
        rows += found
    return rows, exits


class _Panels:
    """Panels of one record, built once for all models that code it alike."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.wanted: dict[str, list[str]] = {}
        for model in models:
            names = self.wanted.setdefault(self._key(model), [])
            names += [name for name in model.variables or (model.failure, *model.covariates) if name not in names]
        self.built: dict[str, pd.DataFrame] = {}

    def of(self, model: Model, record: Record) -> pd.DataFrame:
        key = self._key(model)
        if key not in self.built:
            self.built[key] = build_panel(record, variables=self.wanted[key], coding=dict(model.choices))
        return self.built[key]

    def _key(self, model: Model) -> str:
        return repr(sorted(model.choices.items(), key=repr))


def _fit_rows(model: Model, panel: pd.DataFrame, name: str, number: int) -> tuple[list[dict[str, Any]], Exits]:
    """Fit one model to one panel: a row a term, and the spells that end in an exit."""
    frame = model.rows(panel)
    events = frame.loc[frame[model.failure] == 1, ["warnum", "side", "ccode", "spell"]]
    head = {
        "model": model.key,
        "drawn": name,
        "draw": number,
        "n_obs": len(frame),
        "n_subject": frame[SUBJECT].nunique(),
        "n_event": len(events),
        "n_cluster": frame[model.cluster].nunique() if model.cluster else None,
    }
    exits = frozenset((int(a), int(b), int(c), int(d)) for a, b, c, d in events.itertuples(index=False))
    try:
        fit = model.estimate(frame)
    except (FitError, DataError) as error:
        status = error.status if isinstance(error, FitError) else "bad_data"
        nothing = {"estimate": np.nan, "std_error": np.nan, "status": status, "reason": str(error)}
        return [head | {"term": term} | nothing for term in model.covariates], exits
    rows = [
        head | {"term": term, "estimate": b, "std_error": se, "status": OK, "reason": ""}
        for term, b, se in zip(fit.terms, fit.beta, fit.std_error, strict=True)
    ]
    return rows, exits


def _combine(
    models: Sequence[Model],
    draws: pd.DataFrame,
    coded: Mapping[str, list[dict[str, Any]]],
    names: Sequence[str],
    level: float,
) -> pd.DataFrame:
    parts = []
    for model in models:
        reference = {row["term"]: row["estimate"] for row in coded[model.key]}
        for name in names:
            own = draws[(draws["model"] == model.key) & (draws["drawn"] == name)]
            pooled = _pool(model, own, level)
            pooled["reference"] = pooled["term"].map(reference)
            pooled["shift"] = pooled["estimate"] - pooled["reference"]
            pooled["share_coding"] = pooled["share_between"]
            pooled["share_sampling"] = 1.0 - pooled["share_between"]
            parts.append(pooled.assign(model=model.key, drawn=name))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _pool(model: Model, own: pd.DataFrame, level: float) -> pd.DataFrame:
    terms = list(model.covariates)
    good = own[own["status"] == OK]
    failed = (len(own) - len(good)) // len(terms)
    m = len(good) // len(terms)
    if m < 2:
        empty = pd.DataFrame({"term": terms}).reindex(columns=list(POOLED_COLUMNS))
        why = own.loc[own["status"] != OK, "reason"]
        said = f"{m} of {m + failed} drawn records have an estimate" + (f" ({why.iloc[0]})" if len(why) else "")
        return empty.assign(m=m, m_failed=failed, reason=said)
    wide = {name: good.pivot(index="draw", columns="term", values=name)[terms] for name in ("estimate", "std_error")}
    # Degrees of freedom of complete data: the fewest clusters (or events) of any draw, to be on the safe side.
    if model.cluster is not None:
        df = float(good["n_cluster"].min() - 1)
    else:
        df = float(max(int(good["n_event"].min()) - len(terms), 1))
    pooled = pool(terms, wide["estimate"].to_numpy(), wide["std_error"].to_numpy() ** 2, df, level)
    return pooled.assign(m_failed=failed, reason="")


def _exit_shares(
    record: Record,
    coded: Mapping[str, Exits],
    items: Sequence[tuple[str, tuple[str, ...], int]],
    drawn: Sequence[Mapping[str, Exits]],
) -> pd.DataFrame:
    """Share of the draws of all kinds in which each spell is an exit."""
    wars = dict(zip(record["wars"]["warnum"], record["wars"]["name"], strict=True))
    states = dict(zip(record["states"]["ccode"], record["states"]["name"], strict=True))
    exits = record["exits"].set_index(["warnum", "side", "ccode", "spell"])
    chosen = [found for (name, _, _), found in zip(items, drawn, strict=True) if name == ALL]
    rows = []
    for key, as_coded in coded.items():
        counts: dict[tuple[int, int, int, int], int] = dict.fromkeys(as_coded, 0)
        for found in chosen:
            for spell in found[key]:
                counts[spell] = counts.get(spell, 0) + 1
        for spell in sorted(counts):
            row = exits.loc[spell]
            rows.append(
                {
                    "model": key, "war": wars[spell[0]], "state": states[spell[2]], "spell": spell[3],
                    "date": str(row["date"].date()), "confidence": row["confidence"], "coded": int(spell in as_coded),
                    "share_of_draws": counts[spell] / len(chosen),
                }
            )  # fmt: skip
    columns = ["model", "war", "state", "spell", "date", "confidence", "coded", "share_of_draws"]
    return pd.DataFrame(rows, columns=columns)
