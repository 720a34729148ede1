"""Numbers of the specs of one chunk, as columns, and the table they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr, ndtri

from coalition_exit.multiverse.choices.space import Space

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
COUNTS = ("n_obs", "n_subject", "n_event", "n_cluster")
OK = "ok"
# Columns of decisions bear it, so that none takes the name of another column.
PREFIX = "decision_"
_Z = float(ndtri(0.975))


class Outcomes:
    """What is known of U different specs and F focus terms; what is not known stays NaN.

    Attributes
    ----------
    status, reason : lists of U texts
    counts : shape (U, 4)
        As `COUNTS`; -1 where there is none.
    loglik : shape (U, 2)
        At the estimate and at the null model.
    coef, error : shape (U, F)
    spread : shape (U, F)
        Standard deviation of the variable over the time at risk.
    tests : shape (U, 2, F)
        Chi-squared of the score test and of Grambsch and Therneau's for each focus term.
    together : shape (U, 2)
        The same for all terms of the spec at once.
    freedom : shape (U, 2)
        Their degrees of freedom.
    gap : shape (U, 2)
        Difference in survival and its standard error.
    ratio : bool, shape (U,)
        Whether exp(coef) is a hazard ratio.
    """

    def __init__(self, size: int, n_focus: int) -> None:
        self.status, self.reason = [""] * size, [""] * size
        self.counts = np.full((size, len(COUNTS)), -1, dtype=np.int64)
        self.loglik, self.gap = np.full((size, 2), np.nan), np.full((size, 2), np.nan)
        self.coef, self.error = np.full((size, n_focus), np.nan), np.full((size, n_focus), np.nan)
        self.spread = np.full((size, n_focus), np.nan)
        self.tests = np.full((size, 2, n_focus), np.nan)
        self.together, self.freedom = np.full((size, 2), np.nan), np.full((size, 2), np.nan)
        self.ratio = np.zeros(size, dtype=bool)

    def fail(self, at: Sequence[int], status: str, reason: str) -> None:
        """Note that specs have no estimate, and why."""
        for u in at:
            self.status[u], self.reason[u] = status, reason

    def count(self, at: Sequence[int], counts: Mapping[str, int | None]) -> None:
        """Note the counts of specs."""
        own = [counts[name] for name in COUNTS]
        self.counts[list(at)] = [-1 if value is None else value for value in own]


def core_table(
    focus: Sequence[str], keys: Sequence[bytes], terms: Sequence[Sequence[str]], sizes: Sequence[int],
    models: Mapping[str, Sequence[str]], found: Outcomes,
) -> pa.Table:  # fmt: skip
    """Return what is known of different specs, one row a spec and focus term.

    Parameters
    ----------
    focus
        The focus terms, F of them.
    keys
        Content hash of each of the U specs.
    terms
        For each of the U, the variable that stands for each focus term, "" if there is none.
    sizes
        For each of the U, the number of covariates.
    models
        Columns of text for each of the U: failure, estimator, ties.
    found
        Their numbers.
    """
    import pyarrow as pa

    u, f = len(keys), len(focus)
    each = np.repeat(np.arange(u), f)
    variables = [name for own in terms for name in own]
    status, reason = [found.status[k] for k in each], [found.reason[k] for k in each]
    for n, name in enumerate(variables):
        if not name and status[n] == OK:
            status[n], reason[n] = "absent", "the spec does not have this term"
    columns: dict[str, Any] = {
        "key": pa.array([key for key in keys for _ in focus], pa.binary(16)),
        "term": pa.array(list(focus) * u, pa.string()),
        "variable": pa.array(variables, pa.string()),
        **{name: pa.array([value for value in values for _ in focus], pa.string()) for name, values in models.items()},
        "status": pa.array(status, pa.string()),
        "reason": pa.array(reason, pa.string()),
        "converged": pa.array([found.status[k] == OK for k in each], pa.bool_()),
        "n_covariates": pa.array(np.asarray(sizes, dtype=np.int64)[each]),
    }
    for k, name in enumerate(COUNTS):
        values = found.counts[each, k]
        columns[name] = pa.array(values, mask=values < 0)
    numbers = _numbers(found, f, each)
    columns |= {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in numbers.items()}
    return pa.table(columns)


def spread(
    space: Space, core: pa.Table, n_focus: int, numbers: NDArray[np.int64], digits: NDArray[np.int64],
    back: NDArray[np.int64],
) -> pa.Table:  # fmt: skip
    """Return one row a spec and focus term, with the spec's number and its options.

    Parameters
    ----------
    space
        The decisions.
    core, n_focus
        From `core_table`: ``n_focus`` rows for each of the U different specs.
    numbers, digits
        The n specs, (n,) and (n, decisions).
    back
        Which of the U each spec is, (n,).
    """
    import pyarrow as pa

    rows = (back[:, None] * n_focus + np.arange(n_focus)).reshape(-1)
    columns: dict[str, Any] = {"spec": pa.array(np.repeat(numbers, n_focus))}
    for k, decision in enumerate(space.decisions):
        present, codes = np.unique(digits[:, k], return_inverse=True)
        names = pa.array([decision.options[int(p)].name for p in present], pa.string())
        indices = pa.array(np.repeat(codes.reshape(-1), n_focus), pa.int32())
        columns[PREFIX + decision.name] = pa.DictionaryArray.from_arrays(indices, names)
    taken = core.take(pa.array(rows))
    for name in taken.column_names:
        column = taken[name].combine_chunks()
        columns[name] = column.dictionary_encode() if pa.types.is_string(column.type) else column
    return pa.table(columns)


def _numbers(found: Outcomes, f: int, each: NDArray[np.int64]) -> dict[str, Floats]:
    coef, error = found.coef.reshape(-1), found.error.reshape(-1)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        statistic = coef / error
        low, high = coef - _Z * error, coef + _Z * error
        shown = np.where(found.ratio[each], 1.0, np.nan)
        gap, gap_error = found.gap[each].T
        numbers = {
            "loglik": found.loglik[each, 0], "loglik_null": found.loglik[each, 1],
            "estimate": coef, "std_error": error, "statistic": statistic, "p_value": 2 * ndtr(-np.abs(statistic)),
            "conf_low": low, "conf_high": high,
            "variable_sd": found.spread.reshape(-1), "estimate_per_sd": coef * found.spread.reshape(-1),
            "hazard_ratio": np.exp(coef) * shown, "hr_low": np.exp(low) * shown, "hr_high": np.exp(high) * shown,
            "survival_difference": gap, "survival_std_error": gap_error,
            "survival_low": gap - _Z * gap_error, "survival_high": gap + _Z * gap_error,
        }  # fmt: skip
        for k, name in enumerate(("ph_score", "ph_gt")):
            own = found.tests[:, k].reshape(-1)
            numbers[f"{name}_statistic"], numbers[f"{name}_p"] = own, chdtrc(1.0, own)
            both, freedom = found.together[each, k], found.freedom[each, k]
            numbers[f"{name}_global"], numbers[f"{name}_global_df"] = both, freedom
            numbers[f"{name}_global_p"] = chdtrc(freedom, both)
    return numbers
