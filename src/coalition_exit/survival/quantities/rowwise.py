"""Predictions for rows: linear predictor, relative hazard, expected events and survival over an episode."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.cox.state import CoxState
from coalition_exit.survival.data.newdata import scenario_matrix
from coalition_exit.survival.data.surv import Floats, Integers, Surv
from coalition_exit.survival.quantities.baseline import (
    HazardJumps,
    hazard_jumps,
    quadratic,
    reference_point,
    refuse_time_terms,
)
from coalition_exit.survival.quantities.predict import critical, running

KINDS = ("lp", "risk", "expected", "survival")
REFERENCES = ("zero", "mean", "sample", "strata")


def predict_rows(
    state: CoxState,
    kind: str = "lp",
    *,
    reference: str = "zero",
    newdata: pd.DataFrame | None = None,
    surv: Surv | None = None,
    strata: Iterable[object] | None = None,
    offset: ArrayLike | None = None,
    vcov: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Predict for each row of the data or of new data, as R's ``predict.coxph(se.fit = TRUE)``.

    Parameters
    ----------
    state, vcov
        As for `hazard_jumps`.
    kind
        "lp": x b + offset; "risk": its exponential; "expected": number of events expected over the row's own (start,
        stop]; "survival": exp(-expected).
    reference
        What "lp" and "risk" are relative to: "zero" (Stata's xb, not centred), "mean" (weighted means), "sample" (R's
        ``object$means``, 0 for covariates coded -1, 0, 1) or "strata" (weighted means of the stratum; as "sample"
        without strata). All but "zero" also take the unweighted mean off the offset, as R does; R does so
        for "zero" as well.
    newdata
        Covariates as in `scenario_matrix`; by default the rows the model was estimated on.
    surv
        Episodes of the rows of ``newdata``, for "expected" and "survival".
    strata
        Stratum of each row of ``newdata``, by the values in the data (tuples of values for several columns).
    offset
        Offset of each row of ``newdata``, 0 by default.
    level
        Confidence level.

    Returns
    -------
    DataFrame
        estimate, std_error, conf_low, conf_high; the index of ``newdata``, or that of the rows used. Intervals
        are symmetric for the linear predictor, for "risk" their exponential, for "expected" on the log scale and for
        "survival" the exponential of minus those.

    Notes
    -----
    Standard errors are the delta method's. R 3.5-3 gives se * sqrt(risk) for "risk" in place of
    se * risk, and for start-stop rows takes a difference of variances for the variance of a difference in
    "expected" and "survival"; errors equal R's for right-censored rows. Values equal R's for new rows without
    offset (R adds the offset to exp(x b)). For the model's own rows R gives events less martingale residuals,
    which under Efron ties is less for rows with an event; here no prediction depends on the row's event.

    Raises
    ------
    DataError
        On an unknown name, new rows without what the kind of prediction needs, or a fit with tt() terms.
    """
    refuse_time_terms(state, "predictions by row", "Use path_scenarios")
    for name, value, valid in (
        ("kind", kind, KINDS),
        ("reference", reference, REFERENCES),
    ):
        if value not in valid:
            raise DataError(name, one_of(valid), repr(value), nearest(str(value), valid))
    z, jumps = critical(level), hazard_jumps(state, vcov=vcov)
    x, labels, shift, codes = _rows(state, jumps, newdata, strata, offset)
    if kind in ("lp", "risk"):
        estimate, error = _linear(state, jumps.vcov, reference, x, shift, codes)
        low, high = estimate - z * error, estimate + z * error
        if kind == "risk":
            estimate, low, high = np.exp(estimate), np.exp(low), np.exp(high)
            error = error * estimate
    else:
        if newdata is not None and (surv is None or len(surv) != len(x)):
            raise DataError("surv", f"the episodes of the {len(x)} rows of newdata", repr(surv))
        estimate, error = _expected(jumps, surv or state.design.surv, x - jumps.center, shift, codes)
        # Nothing expected: the interval is that one value.
        reach = np.exp(z * error / np.where(estimate > 0, estimate, 1.0))
        low, high = estimate / reach, estimate * reach
        if kind == "survival":
            estimate, low, high = np.exp(-estimate), np.exp(-high), np.exp(-low)
            error = error * estimate
    return pd.DataFrame({"estimate": estimate, "std_error": error, "conf_low": low, "conf_high": high}, index=labels)


def _rows(
    state: CoxState,
    jumps: HazardJumps,
    newdata: pd.DataFrame | None,
    strata: Iterable[object] | None,
    offset: ArrayLike | None,
) -> tuple[Floats, pd.Index, Floats, Integers]:
    design = state.design
    if newdata is None:
        n = len(design.surv)
        shift = np.zeros(n) if design.offset is None else design.offset
        codes = np.zeros(n, dtype=np.int64) if design.strata is None else design.strata
        return design.x, pd.RangeIndex(n) if design.index is None else design.index, shift, codes
    x, _ = scenario_matrix(design.names, newdata.reset_index(drop=True), design.encoding)
    shift = np.zeros(len(x)) if offset is None else np.asarray(offset, dtype=np.float64)
    if strata is None and design.strata is not None:
        raise DataError("strata", "the stratum of each row of newdata", "None")
    codes = np.zeros(len(x), dtype=np.int64)
    if strata is not None:
        own, labels = pd.factorize(pd.Index(list(strata), tupleize_cols=False), use_na_sentinel=False)
        codes = np.array([jumps.position(label) for label in labels], dtype=np.int64)[own]
    for name, values in (("offset", shift), ("strata", codes)):
        if values.shape != (len(x),):
            raise DataError(name, f"{len(x)} values, one a row", str(values.shape))
    return x, newdata.index, shift, codes


def _linear(
    state: CoxState, vcov: Floats, reference: str, x: Floats, shift: Floats, codes: Integers
) -> tuple[Floats, Floats]:
    design = state.design
    if reference == "strata" and design.strata is not None:
        own = design.strata
        total = np.bincount(own, weights=state.weights)
        sums = [np.bincount(own, weights=state.weights * column) / total for column in design.x.T]
        center = np.column_stack(sums)[codes] if sums else np.zeros(x.shape)
    else:
        center = reference_point(state, "r" if reference in ("sample", "strata") else reference)[0]
    if reference != "zero" and design.offset is not None:
        shift = shift - design.offset.mean()
    relative = x - center
    return relative @ state.beta + shift, np.sqrt(quadratic(relative, vcov))


def _expected(jumps: HazardJumps, surv: Surv, x: Floats, shift: Floats, codes: Integers) -> tuple[Floats, Floats]:
    """Expected events of rows with centred covariates over their episodes, and standard errors."""
    first, last = np.empty(len(x), dtype=np.int64), np.empty(len(x), dtype=np.int64)
    for place in np.unique(codes):
        span, rows = jumps.span(int(place)), np.flatnonzero(codes == place)
        first[rows] = span.start + np.searchsorted(jumps.times[span], surv.start[rows], side="right")
        last[rows] = span.start + np.searchsorted(jumps.times[span], surv.stop[rows], side="right")
        late = surv.stop[rows] > jumps.follow_up[place]
        if late.any():
            row, end = int(rows[np.argmax(late)]), jumps.follow_up[place]
            raise DataError(f"surv, row {row}", f"stop at most {end:g}, the last follow-up", f"{surv.stop[row]:g}")
    relative = jumps.scale(x @ jumps.beta + shift)
    crossed = [running(part) for part in (jumps.hazard, jumps.variance, jumps.mean_hazard)]
    hazard, variance, mean = (part[last] - part[first] for part in crossed)
    gradient = x * hazard[:, None] - mean
    return relative * hazard, relative * np.sqrt(np.maximum(variance, 0.0) + quadratic(gradient, jumps.vcov))
