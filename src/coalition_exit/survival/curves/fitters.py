"""Curves put into lifelines' fitters, whose plots and methods then work on them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.survival.curves.curve import Curve
from coalition_exit.survival.data.surv import Floats


def _prepare(fitter: Any, curve: Curve, label: str) -> Any:
    """Fill what every lifelines fitter has, other than its estimate."""
    from lifelines.utils import CensoringType

    CensoringType.set_censoring_type(fitter, CensoringType.RIGHT)
    fitter._label, fitter.timeline, fitter.curve_ = label, curve.time.copy(), curve
    spells = curve.spells
    fitter.durations, fitter.weights = spells["duration"].to_numpy(), spells["weight"].to_numpy()
    fitter.event_observed = spells["event"].to_numpy(dtype=np.int64)
    fitter.entry = spells["entry"].to_numpy()
    removed = curve.events + curve.censored
    table = pd.DataFrame(
        {
            "removed": removed,
            "observed": curve.events,
            "censored": curve.censored,
            "entrance": curve.entered,
            "at_risk": np.cumsum(curve.entered) - np.cumsum(removed) + removed,
            "risk_set": curve.at_risk,
        },
        index=pd.Index(curve.time, name="event_at"),
    )
    whole = (spells["weight"] % 1 == 0).all()
    fitter.event_table = table.round().astype(np.int64) if whole else table
    return fitter


def _bounds_frame(curve: Curve, label: str, level: float, bounds: tuple[Floats, Floats]) -> pd.DataFrame:
    names = (f"{label}_lower_{level:g}", f"{label}_upper_{level:g}")
    return pd.DataFrame(dict(zip(names, bounds, strict=True)), index=pd.Index(curve.time))


def kaplan_meier_fitter(curve: Curve, label: str, level: float, interval: str) -> Any:
    """Return a ``KaplanMeierFitter`` with the numbers of a curve."""
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    fitter = _prepare(KaplanMeierFitter(alpha=1 - level, label=label), curve, label)
    index = pd.Index(curve.time, name="timeline")
    bounds = _bounds_frame(curve, label, level, curve.survival_interval(level, interval))
    fitter.survival_function_ = pd.DataFrame({label: curve.survival}, index=index)
    fitter.cumulative_density_ = 1 - fitter.survival_function_
    fitter.confidence_interval_ = fitter.confidence_interval_survival_function_ = bounds
    turned = pd.DataFrame(1 - bounds.to_numpy()[:, ::-1], index=bounds.index, columns=bounds.columns)
    fitter.confidence_interval_cumulative_density_ = turned
    fitter._median = median_survival_times(fitter.survival_function_)
    fitter._cumulative_sq_ = pd.Series(curve.survival_variance, index=index)
    fitter._estimation_method = fitter._estimate_name = "survival_function_"
    return fitter


def nelson_aalen_fitter(curve: Curve, label: str, level: float, interval: str) -> Any:
    """Return a ``NelsonAalenFitter`` with the numbers of a curve."""
    from lifelines import NelsonAalenFitter
    from lifelines.plotting import _plot_estimate

    fitter = NelsonAalenFitter(alpha=1 - level, nelson_aalen_smoothing=False, label=label)
    fitter = _prepare(fitter, curve, label)
    index = pd.Index(curve.time, name="timeline")
    bounds = _bounds_frame(curve, label, level, curve.hazard_interval(level, interval))
    fitter.cumulative_hazard_ = pd.DataFrame({label: curve.hazard}, index=index)
    fitter.confidence_interval_ = fitter.confidence_interval_cumulative_hazard_ = bounds
    fitter.ci_labels = list(bounds.columns)
    fitter._cumulative_sq = pd.Series(curve.hazard_variance, index=index)
    fitter._estimation_method = fitter._estimate_name = "cumulative_hazard_"
    # Only fit() gives the method to an instance of this class.
    fitter.plot_cumulative_hazard = partial(_plot_estimate, fitter, estimate="cumulative_hazard_")
    return fitter
