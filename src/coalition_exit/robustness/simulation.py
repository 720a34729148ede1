"""Compensation in a simulation whose truth is known.

Every state has a latent hazard of exit h = h0 exp(b_front * front + b_trend * trend) a day. When the battlefield turns,
partners pay. Payment rises with the trend from nothing at one of its quantiles to full at another: r(trend) from 0 to
1, times what the target asks (1 for all; 1 - front, or front, where those alone are paid). With strength s,

- ``hazard``: the payment lowers the hazard to h (1 - s) ** r;
- ``buyout``: a latent exit is bought off with probability s r, nothing is observed, and the state stays; it may also be
  safe for some days.

The Cox model is then fitted to what can be observed. With mechanism ``hazard``, target ``all`` and payment that rises
over the whole range of the trend, the estimate tends to b_trend + log(1 - s) / (range of the trend).

Wolford's remark: what compensation keeps off the path makes the observed relationships understate the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import DataError, FitError, one_of
from coalition_exit.robustness.problem import CLUSTER, OK, SUBJECT, Problem
from coalition_exit.robustness.workers import run_all
from coalition_exit.specs.robustness_blocks import Simulation
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.data.design import Design, build_design
from coalition_exit.survival.data.surv import Floats, Integers, Surv

_Z = 1.959963984540054
_SURE = 2.0
# Sums of shares, and shares in single precision, miss 0 and 1 by a little.
_ROUNDED = 1e-6
UNDERSTATES, OVERSTATES, NEITHER = "understates", "overstates", "no change beyond simulation error"


@dataclass(frozen=True, eq=False)
class CompensationSimulation:
    """What the estimates become as compensation grows.

    Attributes
    ----------
    table
        A row a target, strength and term: truth; mean estimate, bias and its Monte Carlo error (bias_mc); change (mean
        estimate minus that at the smallest strength, replicate by replicate) and change_mc; sd of the estimates, mean
        clustered error, coverage of the 95% interval and coverage_mc; n_ok, n_failed; mean exits observed and bought
        off; reading: whether compensation makes the estimate understate or overstate the truth.
    replicates
        A row a target, strength, replicate and term, with the reason where there is no estimate.
    parameters
        As given.
    """

    table: pd.DataFrame
    replicates: pd.DataFrame
    parameters: Simulation

    @property
    def text(self) -> str:
        """A sentence a target and term, for the greatest strength."""
        lines = []
        strongest = self.table[self.table["strength"] == self.table["strength"].max()]
        for row in strongest.itertuples(index=False):
            verb = row.reading if row.reading != NEITHER else f"shows {NEITHER} in"
            lines.append(
                f"Payments to {_WHO[row.target]}, strength {row.strength:g}: the estimate {verb} the effect of "
                f"{row.term} (truth {row.truth:g}, mean {row.mean:.3f}, change by compensation {row.change:+.3f}, "
                f"Monte Carlo error {row.change_mc:.3f})."
            )
        return "\n".join(lines)


_WHO = {"all": "all", "independent": "states on fronts of their own", "common": "states on common fronts"}


@dataclass(frozen=True, eq=False)
class _World:
    """Rows to simulate on: n rows sorted by subject and time."""

    design: Design
    subject: Integers
    length: Floats
    front: Floats
    trend: Floats
    ramp: Floats
    parameters: Simulation
    log_h0: float


def simulate_compensation(
    parameters: Simulation,
    problem: Problem | None = None,
    *,
    front: str = "foverlap",
    trend: str = "ctrend60",
    seed: int = 1,
    jobs: int = 1,
    progress: Any = None,
) -> CompensationSimulation:
    """Simulate exits under compensation of several strengths and fit the Cox model to what is observed.

    The same random numbers serve every strength and target, so that ``change`` has a small error.

    Parameters
    ----------
    parameters
        Truth, mechanism, strengths, targets, replicates.
    problem
        Rows whose fronts, trends, subjects and clusters are used with ``covariates: panel``. Its exits are used for
        their number only; a state's days end where the record ends them.
    front, trend
        Names of the two covariates.
    seed
        Seed; replicate k uses ``SeedSequence([seed, k])``, whatever the number of jobs.
    jobs
        Processes.
    progress
        Called with replicates done and replicates in all.

    Raises
    ------
    DataError
        Covariates that the problem does not have, no rows for ``covariates: panel``, a trend that does not vary, a
        front that is no share where payment goes by it.
    """
    if parameters.covariates == "simulated":
        frame, exits = simulated_covariates(front, trend, seed), parameters.exits or 40
    else:
        frame, exits = _panel_covariates(problem, front, trend, parameters)
    world = _world(frame, front, trend, parameters, exits)
    items = list(range(parameters.replicates))
    rows = run_all(_replicate, _ready, (world, seed), items, jobs, progress)
    long = pd.DataFrame([row for part in rows for row in part])
    return CompensationSimulation(_summarise(long, (front, trend), parameters), long, parameters)


def _panel_covariates(
    problem: Problem | None, front: str, trend: str, parameters: Simulation
) -> tuple[pd.DataFrame, int]:
    if problem is None:
        raise DataError("problem", "rows to take the covariates from (covariates: panel)", "none")
    for name in (front, trend):
        if name not in problem.frame.columns:
            raise DataError("front, trend", one_of(problem.model.covariates, 30), repr(name))
    cluster = problem.model.cluster or SUBJECT
    kept = problem.frame[[SUBJECT, "start", "stop", front, trend]].assign(**{CLUSTER: problem.frame[cluster]})
    return kept, parameters.exits or int(problem.event.sum())


def simulated_covariates(front: str, trend: str, seed: int) -> pd.DataFrame:
    """Make up 40 coalitions of 5 states over 360 days: a coalition's trend and a state's front, independent."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2**32 - 1]))
    coalitions, states, days = 40, 5, 360
    path = np.zeros((coalitions, days))
    path[:, 0] = rng.normal(0.0, 0.12, coalitions)
    for k in range(1, days):
        path[:, k] = 0.98 * path[:, k - 1] + rng.normal(0.0, 0.12 * np.sqrt(1 - 0.98**2), coalitions)
    share = rng.beta(0.5, 0.5, coalitions * states)
    day = np.tile(np.arange(days, dtype=float), coalitions * states)
    return pd.DataFrame(
        {
            SUBJECT: np.repeat(np.arange(coalitions * states), days),
            CLUSTER: np.repeat(np.arange(coalitions), states * days),
            "start": day,
            "stop": day + 1,
            front: np.repeat(share, days),
            trend: np.repeat(path, states, axis=0).ravel(),
        }
    )


def _world(frame: pd.DataFrame, front: str, trend: str, parameters: Simulation, exits: int) -> _World:
    data = frame.assign(exit=0)
    design = build_design(f"Surv(start, stop, exit) ~ {front} + {trend}", data, id=SUBJECT, cluster=CLUSTER)
    f, t = (frame[name].to_numpy(dtype=np.float64) for name in (front, trend))
    if set(parameters.targets) - {"all"} and not (f.min() >= -_ROUNDED and f.max() <= 1 + _ROUNDED):
        expected = "a share from 0 to 1, for payments by whose front it is (targets: independent, common)"
        raise DataError(f"front > {front}", expected, f"{f.min():g} to {f.max():g}")
    begins, full = np.quantile(t, [parameters.begins, parameters.full])
    if not full > begins:
        raise DataError("begins, full", "quantiles of the trend that differ", f"both {begins:g}")
    _, subject = np.unique(frame[SUBJECT].to_numpy(), return_inverse=True)
    length = (frame["stop"] - frame["start"]).to_numpy(dtype=np.float64)
    n_subject = int(subject.max()) + 1
    if not exits < n_subject:
        raise DataError("exits", f"fewer than the {n_subject} subjects", str(exits))
    risk = np.exp(parameters.b_front * f + parameters.b_trend * t) * length
    log_h0 = _calibrate(np.asarray(np.bincount(subject, weights=risk), dtype=np.float64), exits)
    ramp = np.clip((t - begins) / (full - begins), 0.0, 1.0)
    return _World(design, subject, length, f, t, ramp, parameters, log_h0)


def _calibrate(exposure: Floats, exits: int) -> float:
    """Log baseline hazard at which the expected number of subjects with a latent exit is ``exits``."""
    from scipy.optimize import brentq

    def excess(log_h0: float) -> float:
        return float(-np.expm1(-np.exp(log_h0) * exposure).sum() - exits)

    return float(brentq(excess, -60.0, 20.0, xtol=1e-12))


def _ready(world: _World, seed: int) -> tuple[_World, int]:
    return world, seed


def _replicate(context: tuple[_World, int], number: int) -> list[dict[str, Any]]:
    world, seed = context
    rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
    draws = rng.random((2, len(world.front)))
    rows = []
    for target in world.parameters.targets:
        for strength in world.parameters.strengths:
            exit_row, n_bought = _observe(world, target, strength, draws)
            rows += _fit(world, exit_row, n_bought, target, strength, number)
    return rows


def _observe(world: _World, target: str, strength: float, draws: Floats) -> tuple[Integers, int]:
    """Return the rows on which subjects are seen to exit, and how many exits were bought off."""
    p = world.parameters
    weight = {"all": np.ones_like(world.front), "independent": 1.0 - world.front, "common": world.front}
    paid = weight[target] * world.ramp
    log_hazard = world.log_h0 + p.b_front * world.front + p.b_trend * world.trend
    if p.mechanism == "hazard":
        log_hazard = log_hazard + np.log1p(-strength) * paid
    latent = np.flatnonzero(draws[0] < -np.expm1(-np.exp(log_hazard) * world.length))
    if p.mechanism == "hazard":
        _, first = np.unique(world.subject[latent], return_index=True)
        return latent[first], 0
    return _buy_off(world, latent, draws[1] < strength * paid)


def _buy_off(world: _World, latent: Integers, bought: np.ndarray) -> tuple[Integers, int]:
    gone: set[int] = set()
    safe: dict[int, float] = {}
    exits, n_bought, stop = [], 0, world.design.surv.stop
    for row in latent:
        subject = int(world.subject[row])
        if subject in gone or stop[row] <= safe.get(subject, -np.inf):
            continue
        if bought[row]:
            n_bought += 1
            safe[subject] = stop[row] + world.parameters.lasting
        else:
            gone.add(subject)
            exits.append(row)
    return np.array(exits, dtype=np.int64), n_bought


def _fit(
    world: _World, exit_row: Integers, n_bought: int, target: str, strength: float, number: int
) -> list[dict[str, Any]]:
    design, p = world.design, world.parameters
    last = np.full(int(world.subject.max()) + 1, len(world.subject))
    last[world.subject[exit_row]] = exit_row
    keep = np.arange(len(world.subject)) <= last[world.subject]
    event = np.zeros(len(world.subject), dtype=bool)
    event[exit_row] = True
    assert design.cluster is not None
    observed = replace(
        design,
        surv=Surv(design.surv.start[keep], design.surv.stop[keep], event[keep]),
        x=design.x[keep],
        id=None,
        cluster=design.cluster[keep],
    )
    estimate, error, status = np.full(2, np.nan), np.full(2, np.nan), OK
    try:
        fit = CoxPH().fit_design(observed)
        estimate, error = fit.beta, np.sqrt(np.diag(fit.covariance))
    except FitError as failure:
        status = failure.status
    head = {"target": target, "strength": strength, "replicate": number, "n_event": len(exit_row)}
    return [
        head | {"n_bought": n_bought, "term": name, "truth": truth, "estimate": b, "std_error": se, "status": status}
        for name, truth, b, se in zip(design.names, (p.b_front, p.b_trend), estimate, error, strict=True)
    ]


def _summarise(long: pd.DataFrame, terms: tuple[str, str], parameters: Simulation) -> pd.DataFrame:
    base = min(parameters.strengths)
    rows = []
    for target in parameters.targets:
        own = long[long["target"] == target]
        for strength in parameters.strengths:
            for term in terms:
                at = own[own["term"] == term]
                rows.append(_one(at[at["strength"] == strength], at[at["strength"] == base], target, strength, term))
    return pd.DataFrame(rows)


def _one(at: pd.DataFrame, base: pd.DataFrame, target: str, strength: float, term: str) -> dict[str, Any]:
    truth = float(at["truth"].iloc[0])
    good = at[at["status"] == OK]
    b, se = good["estimate"].to_numpy(), good["std_error"].to_numpy()
    moved = (at.set_index("replicate")["estimate"] - base.set_index("replicate")["estimate"]).dropna().to_numpy()
    n = len(b)
    sd = float(b.std(ddof=1)) if n > 1 else np.nan
    covered = float((np.abs(b - truth) <= _Z * se).mean()) if n else np.nan
    change = float(moved.mean()) if len(moved) else np.nan
    change_mc = float(moved.std(ddof=1) / np.sqrt(len(moved))) if len(moved) > 1 else np.nan
    return {
        "target": target,
        "strength": strength,
        "term": term,
        "truth": truth,
        "mean": float(b.mean()) if n else np.nan,
        "bias": float(b.mean()) - truth if n else np.nan,
        "bias_mc": sd / np.sqrt(n) if n else np.nan,
        "change": change,
        "change_mc": change_mc,
        "sd": sd,
        "mean_std_error": float(se.mean()) if n else np.nan,
        "coverage": covered,
        "coverage_mc": float(np.sqrt(covered * (1 - covered) / n)) if n else np.nan,
        "n_ok": n,
        "n_failed": len(at) - n,
        "mean_exits": float(at["n_event"].mean()),
        "mean_bought_off": float(at["n_bought"].mean()),
        "reading": _reading(change, change_mc, truth),
    }


def _reading(change: float, error: float, truth: float) -> str:
    if not abs(change) > _SURE * error or truth == 0:
        return NEITHER
    return UNDERSTATES if change * truth < 0 else OVERSTATES
