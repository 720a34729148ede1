"""Tables of a multiverse."""

from __future__ import annotations

import math

import pandas as pd

from coalition_exit.multiverse.reading.joint import JointTest
from coalition_exit.multiverse.reading.summary import Summary
from coalition_exit.report.grid import Grid
from coalition_exit.report.speccurve import changes_shown
from coalition_exit.report.speccurve_plots import NAMES

_MOST_ROWS = 40


def _number(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.3g}"  # type: ignore[arg-type]


def _share(value: float) -> str:
    if math.isnan(value):
        return ""
    # Rounding errors of a share of nothing are nothing.
    return f"{100 * value + 0.0:.1f}%" if abs(value) > 1e-9 else "0.0%"


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def terms_grid(summary: Summary) -> Grid:
    """Return the table of the curves, a row a focus term."""
    rows = []
    for row in summary.terms.itertuples():
        reference = row.reference_estimate
        rows.append((
            row.label, row.expected, _number(row.specs), _number(row.estimated), _number(row.failed),
            _number(row.absent), _number(row.median), "" if math.isnan(row.p25) else f"{row.p25:.3g} to {row.p75:.3g}",
            _share(row.share_sign), _share(row.share_significant), _share(row.share_significant_opposite),
            "" if math.isnan(reference) else f"{reference:.3g} ({row.reference_std_error:.2g})",
        ))  # fmt: skip
    heads = ("Term", "Expected", "Specs", "Estimated", "Failed", "Without the term", "Median", "Middle half",
             "Expected sign", "Significant", "Significant, other sign", "Reference spec")  # fmt: skip
    notes = (
        "Shares are of the specs with an estimate. Significant: p < .05, two-sided, each spec by its own standard "
        "error, with the expected sign; where either sign is expected, that of the median.",
        "Reference spec: estimate and, in parentheses, its standard error.",
        *_scale_note(summary),
    )
    return Grid("multiverse_terms", f"Specification curves: {summary.design.title}", heads, tuple(rows), notes)


def _scale_note(summary: Summary) -> tuple[str, ...]:
    labels = [summary.design.labels[term] for term in summary.design.measured_by]
    if not labels:
        return ()
    return (
        f"{' and '.join(labels)}: options measure it in different ways, so estimates are per standard deviation of the "
        "variable over the time at risk in the spec's sample.",
    )


def measures_grid(summary: Summary) -> Grid | None:
    """Return the table of curves measure by measure; None where all specs measure alike."""
    if summary.measures.empty:
        return None
    shown = pd.concat([own.iloc[:_MOST_ROWS] for _, own in summary.measures.groupby("term", sort=False)])
    rows = tuple(
        (summary.design.labels[r.term], r.measure, _number(int(r.specs)), _number(r.median),
         "" if math.isnan(r.p25) else f"{r.p25:.3g} to {r.p75:.3g}", _number(r.variable_sd), _number(r.median_per_sd),
         _share(r.share_sign), _share(r.share_significant))
        for r in shown.itertuples()
    )  # fmt: skip
    heads = ("Term", "Measured by", "Specs", "Median", "Middle half", "Standard deviation", "Median per deviation",
             "Expected sign", "Significant")  # fmt: skip
    notes = (
        "Median and middle half: coefficients as they are, comparable within a row. Standard deviation: of the "
        "variable over the time at risk, median over specs.",
        *(("All measures are in measures.csv.",) if len(shown) < len(summary.measures) else ()),
    )
    return Grid("multiverse_measures", "The curves measure by measure", heads, rows, notes)


def within_grid(summary: Summary) -> Grid | None:
    """Return the table of what drives the coefficients when the measure is held; None where all measure alike."""
    if summary.within.empty or summary.within["share"].isna().all():
        return None
    ordered = summary.within.sort_values(["term", "share"], ascending=[True, False], kind="stable")
    rows = tuple(
        (summary.design.labels[term], r.label, _share(r.share), f"{_share(r.lowest)} to {_share(r.highest)}")
        for term in summary.design.measured_by
        for r in ordered[ordered["term"] == term].itertuples()
        if not math.isnan(r.share)
    )  # fmt: skip
    heads = ("Term", "Decision", "Share", "Lowest and highest of a measure")
    notes = (
        "Shapley's shares of the variance of the coefficients as they are, among specs that measure the term alike; "
        "the mean over measures, each counting as its specs.",
    )
    return Grid("multiverse_within", "Which decision drives the estimate within a measure", heads, rows, notes)


def failures_grid(summary: Summary) -> Grid | None:
    """Return the table of specs without an estimate, by reason; None if there are none."""
    if summary.failures.empty:
        return None
    shown = summary.failures.iloc[:_MOST_ROWS]
    rows = tuple((summary.design.labels[r.term], r.status, r.reason, _number(int(r.specs))) for r in shown.itertuples())
    notes = ("All reasons are in failures.csv.",) if len(summary.failures) > len(shown) else ()
    return Grid("multiverse_failures", "Specs without an estimate", ("Term", "Status", "Reason", "Specs"), rows, notes)


def decomposition_grid(summary: Summary) -> Grid:
    """Return the table of shares in the variance, with a last row a term for the whole."""
    rows = []
    for term, label in summary.design.labels.items():
        own = summary.decomposition[summary.decomposition["term"] == term]
        for row in own.sort_values("shapley", ascending=False, kind="stable").itertuples():
            shares = [_share(v) for v in (row.shapley, row.first_order, row.total, row.unique)]
            rows.append((label, row.label, _number(int(row.options)), *shares))
        whole = summary.whole[summary.whole["term"] == term].iloc[0]
        rows.append((label, "Sum", "", _share(own["shapley"].sum(min_count=1)), _share(whole["sum_first_order"]),
                     _share(whole["sum_total"]), ""))  # fmt: skip
        rows.append((label, "Additive model of all; interactions", "", _share(whole["additive"]),
                     _share(whole["interactions"]), "", ""))  # fmt: skip
    complete = bool(summary.whole["complete"].all())
    notes = (
        "Shares of the variance of the estimates over the specs that have one. Share: Shapley's, adds up to 100%. "
        "Alone: what the decision tells by itself (first order). Lost without it: total. Adds to others: to R2 of the "
        "additive model (type II).",
        "All combinations are there: the sum of the first order is the additive model's share."
        if complete
        else "Some combinations are excluded or have no estimate: decisions depend on each other, and the sums of "
        "the first order and of the total are not bounded by 100%.",
        f"Shapley's shares from {summary.whole['method'].iloc[0]}.",
        *_scale_note(summary),
    )
    heads = ("Term", "Decision", "Options", "Share", "Alone", "Lost without it", "Adds to others")
    return Grid("multiverse_decomposition", "Which decision drives the estimate", heads, tuple(rows), notes)


def changes_grid(summary: Summary) -> Grid:
    """Return the table of what each option changes."""
    rows, left_out = [], 0
    for term, label in summary.design.labels.items():
        shown = changes_shown(summary, term)
        left_out += int(shown["left_out"].iloc[0]) if len(shown) else 0
        for row in shown.itertuples():
            alone = _number(row.change) if row.status == "ok" else str(row.status)
            spread = "" if not row.pairs else f"{row.change_p05:.2g} to {row.change_p95:.2g}"
            rows.append((label, row.label, row.option, row.reference, alone, _number(row.mean_change), spread,
                         _number(int(row.pairs)), _share(row.share_turned)))  # fmt: skip
    heads = (
        "Term",
        "Decision",
        "Option",
        "Instead of",
        "In the reference spec",
        "Mean",
        "5% to 95%",
        "Pairs",
        "Sign turns",
    )
    notes = (
        "Change of the estimate. In the reference spec: that option alone is changed. Mean and spread: over all pairs "
        "of specs that differ in that option alone.",
        *((f"{left_out} options are not shown; all are in changes.csv.",) if left_out else ()),
        *_scale_note(summary),
    )
    return Grid("multiverse_changes", "What each option changes", heads, tuple(rows), notes)


def vibration_grid(summary: Summary) -> Grid:
    """Return the table of the vibration of effects."""
    rows = tuple(
        (summary.design.labels[r.term], _number(r.ratio_p01), _number(r.ratio_p50), _number(r.ratio_p99),
         _number(r.relative_ratio), _number(r.relative_p), "yes" if r.janus else "no")
        for r in summary.vibration.itertuples()
    )  # fmt: skip
    heads = ("Term", "Ratio, 1st percentile", "Median", "99th percentile", "99th over 1st", "-log10(p), 99th less 1st",
             "Sides of 1 differ")  # fmt: skip
    notes = (
        "Ratio: exp(estimate), per unit of the term. After Patel, Burford and Ioannidis (2015).",
        *_scale_note(summary),
    )
    return Grid("multiverse_vibration", "Vibration of effects", heads, rows, notes)


def joint_grid(summary: Summary, test: JointTest) -> Grid:
    """Return the table of the joint tests."""
    rows = [
        (summary.design.labels[row.term], NAMES[row.statistic].split(",")[0], row.alternative, _number(row.observed),
         f"{row.null_low:.3g} to {row.null_high:.3g}", f"{int(row.exceeding)} of {int(row.replicates)}",
         _p(row.p_value), f"±{row.monte_carlo_error:.4f}")
        for row in test.tests.itertuples()
    ]  # fmt: skip
    heads = ("Term", "Statistic", "Alternative", "Found", "95% under the null", "As extreme", "p", "Monte Carlo error")
    lost = test.refits[test.refits["status"].isin(["no_events", "not_identified", "no_maximum"])]
    part = test.refits[test.refits["status"] == "part"]
    made = test.refits[test.refits["status"] != "not_tested"]["refits"].sum()
    untested = int(test.untested["specs"].sum()) if len(test.untested) else 0
    notes = (
        f"Curves under the null: {test.n_cluster} clusters ({test.by}) drawn with replacement, seed {test.seed}, the "
        "same draw for all specs, estimates recentred on those of the sample. p = (k + 1) / (R + 1).",
        "One-sided: in the expected direction. Two-sided: absolute values, and the larger of both directions' shares.",
        f"Of {int(made):,} refits {int(lost['refits'].sum()):,} have no estimate and {int(part['refits'].sum()):,} one "
        "although a control could not be estimated.",
        *((f"{untested:,} specs were not refitted.",) if untested else ()),
    )
    return Grid("multiverse_joint", "Joint tests of the curves", heads, tuple(rows), notes)


def joint_text(summary: Summary, test: JointTest) -> list[str]:
    """Say in a sentence a focus term how the whole curve stands against curves under the null."""
    sentences = []
    for term, label in summary.design.labels.items():
        own = test.tests[test.tests["term"] == term].set_index(["alternative", "statistic"])
        if own.empty:
            continue
        side = "one-sided" if "one-sided" in own.index.get_level_values(0) else "two-sided"
        said = ", ".join(
            f"{words} p = {_p(own.loc[(side, name), 'p_value'])}"
            for name, words in (
                ("median", "median"), ("share_significant", "share significant"),
                ("share_sign", "share of expected sign"),
            )
        )  # fmt: skip
        count = int(own["replicates"].max())
        sentences.append(f"{label}, the whole curve against {count} curves under the null ({side}): {said}.")
    return sentences
