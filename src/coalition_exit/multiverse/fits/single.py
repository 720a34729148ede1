"""One spec through the estimator itself: where the fast path does not go, and to say what is the matter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.multiverse.fits.outcomes import OK, Outcomes
from coalition_exit.multiverse.fits.riskgroups import RiskGroup, spread_of
from coalition_exit.multiverse.fits.tasks import Context, Task
from coalition_exit.runner.estimation import run_model
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.quantities.predict import survival_contrast


def fit_alone(context: Context, task: Task, found: Outcomes, group: RiskGroup | None = None) -> None:
    """Fit one spec with the estimator itself and note its numbers, or its status and reason."""
    try:
        fit = _cox(context, task, group) if group is not None else _any(context, task, found)
    except FitError as error:
        found.fail([task.at], error.status, str(error))
        return
    except DataError as error:
        found.fail([task.at], "bad_data", str(error))
        return
    if fit is not None:
        note(context, task, fit, found, _values(context, task, group))


def _values(
    context: Context, task: Task, group: RiskGroup | None
) -> Callable[[str], tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
    """Return a function from a covariate to its values on the spec's rows and the time at risk in each."""
    if group is not None:
        base, kept, coding = group.base, group.kept, task.setting.coding
        return lambda name: (base.values(context.columns, coding, name)[kept], group.exposure())
    rows = context.source.rows(context.resolver.model(task.found))
    clock = [part.strip() for part in rows.response.removeprefix("Surv(").rstrip(")").split(",")]
    time = None
    if len(clock) > 1:
        ends = rows.frame[clock[:-1]].to_numpy(dtype=np.float64)
        time = ends[:, -1] - (ends[:, 0] if len(clock) == 3 else 0.0)
    return lambda name: (rows.frame[name].to_numpy(dtype=np.float64), time)


def _any(context: Context, task: Task, found: Outcomes) -> Any:
    """Run the spec as the runner would run it in a table."""
    result = run_model(context.resolver.model(task.found), context.source)
    found.count([task.at], {"n_obs": None, "n_subject": None, "n_event": None, "n_cluster": None, **result.counts})
    if result.fit is None:
        found.fail([task.at], result.status, result.reason)
    return result.fit


def _cox(context: Context, task: Task, group: RiskGroup) -> CoxFit:
    setting, spec = task.setting, task.found
    values = [group.base.values(context.columns, setting.coding, name) for name in spec.variables]
    frame, counting = group.frame(spec.variables, values)
    estimator = CoxPH(ties=setting.ties, correction=setting.errors.correction)
    options: dict[str, Any] = {
        "id": "_id" if "_id" in frame else None,
        "cluster": "_cluster" if setting.errors.type == "cluster" else None,
    }
    clock = "_start, _stop" if counting else "_stop"
    formula = f"Surv({clock}, _event) ~ {' + '.join(spec.variables)}"
    # Rows at no event time do not bear on the estimate: a model that has none is refused sooner without them.
    estimator.fit(formula, frame.iloc[group.at_risk], **options)
    return estimator.fit(formula, frame, **options)


def note(
    context: Context, task: Task, fit: Any, found: Outcomes,
    spread_from: Callable[[str], tuple[NDArray[np.float64], NDArray[np.float64] | None]],
) -> None:  # fmt: skip
    """Write a fit's numbers where those of the fast path go."""
    at, spec, choices = task.at, task.found, context.choices
    found.status[at] = OK
    found.loglik[at] = fit.loglik, fit.loglik_null
    found.ratio[at] = isinstance(fit, CoxFit) or "cloglog" in fit.estimator
    coef, error = fit.coef, fit.std_error
    names = dict(zip(spec.slots, spec.variables, strict=True))
    for f, slot in enumerate(context.focus):
        if slot in names and names[slot] in coef.index:
            found.coef[at, f], found.error[at, f] = coef[names[slot]], error[names[slot]]
            found.spread[at, f] = spread_of(*spread_from(names[slot]))
    if not isinstance(fit, CoxFit) or fit.ties == "exact":
        return
    # The estimate stands without its test.
    with suppress(FitError, DataError):
        _note_tests(context, names, fit, at, found)
    gap = choices.survival
    if gap is not None and {*gap.start, *gap.stop} & names.keys():
        found.gap[at] = _gap(context, names, fit)


def _note_tests(context: Context, names: dict[str, str], fit: CoxFit, at: int, found: Outcomes) -> None:
    table = fit.proportional_hazards_test(context.choices.transform)
    for k, method in enumerate(("score", "grambsch_therneau")):
        own = table[table["method"] == method].set_index("term")
        found.together[at, k], found.freedom[at, k] = own.loc["GLOBAL", "statistic"], own.loc["GLOBAL", "df"]
        for f, slot in enumerate(context.focus):
            if slot in names:
                found.tests[at, k, f] = own.loc[names[slot], "statistic"]


def _gap(context: Context, names: dict[str, str], fit: CoxFit) -> tuple[float, float]:
    gap = context.choices.survival
    assert gap is not None
    x = fit.state.design.x
    level = {"mean": x.mean(axis=0), "median": np.median(x, axis=0), "zero": np.zeros(x.shape[1])}[gap.others]
    values = pd.DataFrame([level, level], columns=list(fit.terms), index=["from", "to"])
    for side, chosen in (("from", gap.start), ("to", gap.stop)):
        for slot, value in chosen.items():
            if slot in names:
                values.loc[side, names[slot]] = value
    try:
        scenarios = fit.scenarios(values)
        table = survival_contrast(scenarios, "to", "from", [gap.time]).table
    except DataError:
        return np.nan, np.nan
    return float(table["estimate"].iloc[0]), float(table["std_error"].iloc[0])
