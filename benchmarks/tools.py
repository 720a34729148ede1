"""One function a tool: from a data frame to coefficients and cluster-robust errors (None where it has none)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Answer = tuple[list[float], list[float] | None]


def _covariates(data: pd.DataFrame) -> list[str]:
    return [name for name in data.columns if name.startswith("x")]


def coalition_exit(data: pd.DataFrame) -> Answer:
    from coalition_exit import CoxPH

    formula = "Surv(start, stop, event) ~ " + " + ".join(_covariates(data))
    fit = CoxPH(ties="breslow", correction="none").fit(formula, data, id="subject", cluster="cluster")
    return list(fit.coef), list(fit.std_error)


def survival(data: pd.DataFrame) -> Answer:
    import survival as rust

    formula = "Surv(start, stop, event) ~ " + " + ".join(_covariates(data))
    fit = rust.coxph(formula, data, ties="breslow", cluster="cluster")
    variance = np.asarray(fit.var if hasattr(fit, "var") else fit.vcov())
    coefficients: Any = fit.coefficients
    values = coefficients.values() if isinstance(coefficients, dict) else coefficients
    return [float(v) for v in values], [float(v) for v in np.sqrt(np.diag(variance))]


def greenwood(data: pd.DataFrame) -> Answer:
    from greenwood import CoxPH, Surv

    response = Surv(data["start"].to_numpy(), data["stop"].to_numpy(), data["event"].to_numpy())
    fit = CoxPH(ties="breslow").fit(response, data[_covariates(data)], cluster=data["cluster"].to_numpy())
    return [float(v) for v in fit.coef_], [float(v) for v in fit.std_error_]


def statsmodels(data: pd.DataFrame) -> Answer:
    from statsmodels.duration.hazard_regression import PHReg

    names = _covariates(data)
    model = PHReg(data["stop"], data[names], status=data["event"], entry=data["start"], ties="breslow")
    fit = model.fit(groups=data["cluster"].to_numpy())
    return list(fit.params), list(fit.bse)


def lifelines(data: pd.DataFrame) -> Answer:
    from lifelines import CoxTimeVaryingFitter

    # Efron ties and model-based errors only.
    used = data[["subject", "start", "stop", "event", *_covariates(data)]]
    fit = CoxTimeVaryingFitter().fit(used, id_col="subject", start_col="start", stop_col="stop", event_col="event")
    return list(fit.params_), None


def scikit_survival(data: pd.DataFrame) -> Answer:
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    if (data["start"] != 0).any():
        raise ValueError("no start-stop data")
    response = Surv.from_arrays(data["event"].astype(bool), data["stop"])
    fit = CoxPHSurvivalAnalysis(ties="breslow").fit(data[_covariates(data)], response)
    return list(fit.coef_), None


# Tools that cannot do Breslow ties: their coefficients are those of another approximation.
EFRON_ONLY = {"lifelines"}

TOOLS: dict[str, Callable[[pd.DataFrame], Answer]] = {
    "coalition-exit": coalition_exit,
    "survival": survival,
    "greenwood": greenwood,
    "statsmodels": statsmodels,
    "lifelines": lifelines,
    "scikit-survival": scikit_survival,
}
