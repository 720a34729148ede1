"""A finished multiverse in numbers: curves, shares, failures, what drives the estimates, vibration of effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError
from coalition_exit.multiverse.reading.curves import LEVEL, curve_numbers, direction
from coalition_exit.multiverse.reading.decomposition import decompose, option_changes
from coalition_exit.multiverse.reading.design import PREFIX, Design, read_design
from coalition_exit.multiverse.reading.measures import SPREAD, measures_of, on_scale, within_measures

TABLE = "specs.parquet"
_NUMBERS = ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")
_COLUMNS = ("spec", "term", "variable", "estimator", "ties", "status", "reason", "n_event", *_NUMBERS)
OK, ABSENT = "ok", "absent"


@dataclass(frozen=True, eq=False)
class Summary:
    """A multiverse in numbers; every frame is tidy and names its term.

    Attributes
    ----------
    design : Design
    specs : DataFrame
        The specs' table: one row a spec and focus term. Terms that options measure otherwise are per standard deviation
        of the variable here, and in all frames but ``measures`` and ``within``.
    terms : DataFrame
        One row a focus term: counts, median, quartiles, extremes, shares, the reference spec and its place; fits, how
        many of the specs with an estimate are different, and median_of_fits, share_sign_of_fits,
        share_significant_of_fits with each counted once.
    failures : DataFrame
        term, status, reason, specs: specs without an estimate, by reason.
    options : DataFrame
        term, decision, label, option, reference (whether it is), and the curve of the specs with that option:
        specs, estimated, median, p25, p75, minimum, maximum, share_sign, share_significant.
    decomposition, whole, pairs : DataFrame
        `decomposition.Decomposition`, of all terms.
    changes : DataFrame
        `decomposition.option_changes`, of all terms.
    vibration : DataFrame
        `vibration_of_effects`, of all terms.
    measures, within : DataFrame
        `measures.measures_of` and `measures.within_measures`: the coefficients as they are, measure by measure.
    """

    design: Design
    specs: pd.DataFrame
    terms: pd.DataFrame
    failures: pd.DataFrame
    options: pd.DataFrame
    decomposition: pd.DataFrame
    whole: pd.DataFrame
    pairs: pd.DataFrame
    changes: pd.DataFrame
    vibration: pd.DataFrame
    measures: pd.DataFrame
    within: pd.DataFrame

    @property
    def text(self) -> str:
        """What is found, in a few sentences a focus term."""
        return "\n\n".join(describe_term(self, term) for term in self.design.focus)


def read_specs(folder: str | Path) -> pd.DataFrame:
    """Read the specs' table of a run: one row a spec and focus term, texts as categories.

    Raises
    ------
    DataError
        No table, or one without the columns needed.
    """
    import pyarrow.parquet as pq

    path = Path(folder) / TABLE
    if not path.is_file():
        raise DataError(str(path), "the table of a finished multiverse", "no file", "Run or resume the specification")
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise DataError(str(path), f"a column {missing[0]}", "none")
    decisions = [name for name in names if name.startswith(PREFIX)]
    more = [name for name in (SPREAD, "key") if name in names]
    table = file.read(columns=[*_COLUMNS[:1], *decisions, *_COLUMNS[1:], *more])
    if "key" in more:
        # Hashes as numbers: equal ones are the same fit.
        fits = table["key"].combine_chunks().dictionary_encode().indices
        table = table.drop_columns("key").append_column("fit", fits)
    frame = table.to_pandas(strings_to_categorical=True)
    for name in (*decisions, "term"):
        frame[name] = frame[name].astype("category")
    return frame


def summarize_multiverse(folder: str | Path, design: Design | None = None) -> Summary:
    """Summarize a finished run.

    Parameters
    ----------
    folder
        Folder of the run, with ``specs.parquet`` and ``design.json``.
    design
        In place of ``design.json``.

    Raises
    ------
    DataError
        When a file is missing, or the table is not of the design.
    """
    design = read_design(folder) if design is None else design
    specs = read_specs(folder)
    for decision in design.decisions:
        if decision.column not in specs:
            raise DataError(str(Path(folder) / TABLE), f"a column {decision.column}", "none")
    return summarize(specs, design)


def summarize(specs: pd.DataFrame, design: Design) -> Summary:
    """Summarize a table of specs."""
    terms = list(design.focus)
    as_they_are, specs = specs, on_scale(specs, design)
    parts = [decompose(specs, design, term) for term in terms]
    return Summary(
        design, specs,
        pd.DataFrame([_term(specs, design, term) for term in terms]),
        _failures(specs),
        pd.concat([_options(specs, design, term) for term in terms], ignore_index=True),
        pd.concat([p.decisions for p in parts], ignore_index=True),
        pd.concat([p.whole for p in parts], ignore_index=True),
        pd.concat([p.pairs for p in parts], ignore_index=True),
        pd.concat([option_changes(specs, design, term) for term in terms], ignore_index=True),
        pd.DataFrame([vibration_of_effects(specs, term) for term in terms]),
        measures_of(as_they_are, design), within_measures(as_they_are, design),
    )  # fmt: skip


def specification_curve(specs: pd.DataFrame, design: Design, term: str) -> pd.DataFrame:
    """Return the specs with an estimate in the order of their estimates.

    Returns
    -------
    DataFrame
        rank (from 1), spec, estimate, std_error, conf_low, conf_high, p_value, significant (p < .05), expected
        (whether the sign is the expected one), reference (whether it is the reference spec), and the option of each
        decision, in the columns that bear ``decision_`` and its name.
    """
    own = specs[(specs["term"] == term) & specs["estimate"].notna()]
    own = own.sort_values(["estimate", "spec"], kind="stable").reset_index(drop=True)
    side = direction(design.focus[term], own["estimate"].to_numpy())
    curve = pd.DataFrame({
        "rank": np.arange(1, len(own) + 1), "spec": own["spec"],
        **{name: own[name] for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value")},
        "significant": own["p_value"] < LEVEL, "expected": side * own["estimate"] > 0,
        "reference": is_reference(own, design),
    })  # fmt: skip
    return pd.concat([curve, own[[d.column for d in design.decisions]]], axis=1)


def is_reference(specs: pd.DataFrame, design: Design) -> pd.Series:
    """Tell which rows are the reference spec's."""
    found = pd.Series(True, index=specs.index)
    for decision in design.decisions:
        found &= specs[decision.column].astype(str) == decision.reference
    return found


def vibration_of_effects(specs: pd.DataFrame, term: str) -> dict[str, object]:
    """Return how far estimates and p values move over the specs.

    ``ratio_p01``, ``ratio_p50``, ``ratio_p99`` are percentiles of exp(estimate), a hazard ratio in Cox and
    complementary log-log models, and ``relative_ratio`` is the 99th over the 1st. ``logp_*`` are percentiles of
    -log10(p), ``relative_p`` is the difference of the 99th and the 1st: the power of ten by which p moves.
    ``janus`` tells whether the 1st and the 99th percentile of the ratio lie on different sides of 1. Shares of specs:
    up and down (estimate above and below 0), with p < .05 and without.

    References
    ----------
    Patel, C. J., Burford, B. and Ioannidis, J. P. A. (2015), Journal of Clinical Epidemiology 68, 1046-1058.
    Percentiles interpolate linearly (R's type 7).
    """
    own = specs[(specs["term"] == term) & specs["estimate"].notna() & specs["p_value"].notna()]
    b, p = own["estimate"].to_numpy(dtype=float), own["p_value"].to_numpy(dtype=float)
    if not len(b):
        empty = ("ratio_p01", "ratio_p50", "ratio_p99", "relative_ratio", "logp_p01", "logp_p50", "logp_p99",
                 "relative_p", "up_significant", "up", "down", "down_significant")  # fmt: skip
        return {"term": term, "specs": 0, **dict.fromkeys(empty, np.nan), "janus": False}
    low, middle, high = np.quantile(b, [0.01, 0.5, 0.99])
    logp = np.quantile(minus_log10(p), [0.01, 0.5, 0.99])
    small = p < LEVEL
    return {
        "term": term, "specs": len(b), "ratio_p01": np.exp(low), "ratio_p50": np.exp(middle), "ratio_p99": np.exp(high),
        "relative_ratio": np.exp(high - low), "logp_p01": logp[0], "logp_p50": logp[1], "logp_p99": logp[2],
        "relative_p": logp[2] - logp[0],
        "up_significant": float(((b > 0) & small).mean()), "up": float(((b > 0) & ~small).mean()),
        "down": float(((b <= 0) & ~small).mean()), "down_significant": float(((b <= 0) & small).mean()),
        "janus": bool(low < 0 < high),
    }  # fmt: skip


def minus_log10(p: np.ndarray) -> np.ndarray:
    """Return -log10(p); a p value below the smallest number counts as that number."""
    return np.asarray(-np.log10(np.maximum(p, np.finfo(float).tiny)))


def _term(specs: pd.DataFrame, design: Design, term: str) -> dict[str, object]:
    own = specs[specs["term"] == term]
    status, b = own["status"].astype(str), own["estimate"].to_numpy(dtype=float)
    known = own[np.isfinite(b)]
    shown = curve_numbers(own, direction(design.focus[term], known["estimate"].to_numpy()))
    different = own if "fit" not in own else own.drop_duplicates("fit")
    once = curve_numbers(different, direction(design.focus[term], known["estimate"].to_numpy()))
    reference = own[is_reference(own, design)]
    ref = reference.iloc[0] if len(reference) else None
    numbers = {
        f"reference_{name}": np.nan if ref is None else float(ref[name]) for name in _NUMBERS if name != "statistic"
    }
    below = np.nan
    if ref is not None and np.isfinite(ref["estimate"]) and len(known):
        below = float((known["estimate"] < ref["estimate"]).mean())
    return {
        "term": term, "label": design.labels[term], "expected": design.focus[term], "specs": len(own),
        "failed": int((~status.isin([OK, ABSENT])).sum()), "absent": int((status == ABSENT).sum()), **shown,
        "fits": once["estimated"],
        **{f"{name}_of_fits": once[name] for name in ("median", "share_sign", "share_significant")},
        "reference_spec": pd.NA if ref is None else int(ref["spec"]), **numbers, "reference_share_below": below,
    }  # fmt: skip


def _failures(specs: pd.DataFrame) -> pd.DataFrame:
    lost = specs[specs["status"].astype(str) != OK]
    columns = ["term", "status", "reason"]
    counted = lost[columns].astype(str).value_counts().rename("specs").reset_index()
    ordered = counted.sort_values(["term", "specs", *columns[1:]], ascending=[True, False, True, True], kind="stable")
    return ordered.reset_index(drop=True)[[*columns, "specs"]]


def _options(specs: pd.DataFrame, design: Design, term: str) -> pd.DataFrame:
    own = specs[specs["term"] == term]
    side = direction(design.focus[term], own.loc[own["estimate"].notna(), "estimate"].to_numpy())
    codes, names = design.codes(own)
    rows = []
    for i, decision in enumerate(design.decisions):
        order = np.argsort(codes[:, i], kind="stable")
        ends = np.searchsorted(codes[order, i], np.arange(len(names[i]) + 1))
        for k, option in enumerate(names[i]):
            part = own.iloc[order[ends[k] : ends[k + 1]]]
            rows.append({
                "term": term, "decision": decision.name, "label": decision.label, "option": option,
                "reference": option == decision.reference, "specs": len(part), **curve_numbers(part, side),
            })  # fmt: skip
    return pd.DataFrame(rows)


def describe_term(summary: Summary, term: str) -> str:
    """Say in a few sentences what the multiverse finds for a focus term."""
    row = summary.terms[summary.terms["term"] == term].iloc[0]
    head = (
        f"{row['label']} (expected: {row['expected']}): {row['estimated']:,} of {row['specs']:,} specs have an estimate"
    )
    if not row["estimated"]:
        return f"{head}."
    sentences = [
        f"{head}, {row['failed']:,} failed and {row['absent']:,} do not have the term.",
        f"The median{_per_sd(summary, term)} is {row['median']:.3g}, half of the estimates lie between "
        f"{row['p25']:.3g} and {row['p75']:.3g}.",
        f"{_percent(row['share_sign'])} have the expected sign, {_percent(row['share_significant'])} are significant "
        f"at 5% with it, {_percent(row['share_significant_opposite'])} with the other sign.",
    ]
    if row["fits"] < row["estimated"]:
        sentences.append(
            f"These specs are {row['fits']:,} different fits; with each counted once the median is "
            f"{row['median_of_fits']:.3g}, {_percent(row['share_sign_of_fits'])} have the expected sign, "
            f"{_percent(row['share_significant_of_fits'])} are significant with it."
        )
    if np.isfinite(row["reference_estimate"]):
        place = _percent(row["reference_share_below"])
        sentences.append(f"The reference spec's estimate is {row['reference_estimate']:.3g}; {place} are below it.")
    shares = summary.decomposition[summary.decomposition["term"] == term]
    if shares["shapley"].notna().any():
        top = shares.sort_values("shapley", ascending=False, kind="stable").iloc[:2]
        named = " and ".join(f"{r.label} ({_percent(r.shapley)})" for r in top.itertuples())
        sentences.append(f"Most of the variance of the estimates is due to {named}.")
    return " ".join(sentences)


def _per_sd(summary: Summary, term: str) -> str:
    """Say on which scale a term is that options measure in different ways."""
    names = summary.design.measured_by.get(term)
    if not names:
        return ""
    labels = " and ".join(summary.design.decision(name).label for name in names)
    return f" per standard deviation of the variable, which options of {labels} measure in different ways,"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if 0 < share < 1 else f"{100 * share:.0f}%"
