"""Many Cox fits (Breslow ties) that differ only in which exits count and which clusters are kept.

Whether a row ends in an exit does not change who was at risk on that day, so that the risk sets of all
candidate days are laid out once. Each fit is Newton's method from the full estimate, with the cluster sandwich
at its end. It takes about a millisecond on the article's panel. What has no estimate is fitted again by `CoxPH`, which
names the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.errors import DataError, FitError
from coalition_exit.robustness.problem import OK, Problem
from coalition_exit.survival.data.surv import Floats, Integers

Bools = NDArray[np.bool_]
_TOLERANCE = 1e-13
_MOST_STEPS = 25
# Newton steps longer than this, in standard deviations of the covariates, point to a monotone likelihood.
_FAR = 30.0


@dataclass(frozen=True, eq=False)
class Estimate:
    """One fit: p coefficients and their covariance, NaN where there is none; status "ok" or the reason's word."""

    beta: Floats
    covariance: Floats
    n_event: int
    status: str = OK
    reason: str = ""

    @property
    def std_error(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.covariance)))


class ExitEngine:
    """Fits of one problem under other sets of exits.

    Parameters
    ----------
    problem
        n rows, p covariates.
    candidates
        Rows that are exits or might be, shape (E,): positions in the frame, without repetition.
    """

    def __init__(self, problem: Problem, candidates: Integers) -> None:
        self.problem, self.candidates = problem, np.asarray(candidates, dtype=np.int64)
        if not len(self.candidates) or len(np.unique(self.candidates)) < len(self.candidates):
            raise DataError("candidates", "rows of the frame, each once", f"{len(self.candidates)} rows")
        frame, model = problem.frame, problem.model
        x = frame[list(model.covariates)].to_numpy(dtype=np.float64)
        start, stop = (frame[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
        times, self.time_of = np.unique(stop[self.candidates], return_inverse=True)
        low, high = (np.searchsorted(times, values, side="right") for values in (start, stop))
        rows = np.repeat(np.arange(len(frame)), high - low)
        at = np.arange(len(rows)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[rows]
        order = np.argsort(at, kind="stable")
        self.rows, self.at = rows[order], at[order]
        self.begin = np.searchsorted(self.at, np.arange(len(times)))
        center = x[self.rows].mean(axis=0)
        self.x, self.event_x = x[self.rows] - center, x[self.candidates] - center
        self.scale = np.maximum(self.x.std(axis=0), 1e-12)
        self.n_times = len(times)
        self.cluster = self.event_cluster = None
        self.n_cluster = 0
        if model.cluster is not None:
            _, codes = np.unique(frame[model.cluster].to_numpy(), return_inverse=True)
            self.n_cluster = int(codes.max()) + 1
            self.cluster, self.event_cluster = codes[self.rows], codes[self.candidates]
        self.start_at = np.zeros(x.shape[1])
        self.n_fits = 0

    def solve(self, chosen: Bools, keep_rows: Bools | None = None, n_left_out: int = 0) -> Estimate:
        """Fit with the chosen candidates as the exits.

        Parameters
        ----------
        chosen
            Which candidates count, shape (E,).
        keep_rows
            Rows of the frame to keep, shape (n,); all by default. Whole clusters only.
        n_left_out
            Clusters among the rows left out, for the small-sample factor.
        """
        self.n_fits += 1
        if keep_rows is not None:
            chosen = chosen & keep_rows[self.candidates]
        found = None
        if chosen.any() and self.problem.model.ties == "breslow" and not self.problem.model.strata:
            keep = None if keep_rows is None else keep_rows[self.rows].astype(float)
            with np.errstate(all="ignore"):
                found = self._newton(chosen, keep, n_left_out)
        return self._by_cox(chosen, keep_rows) if found is None else found

    def _newton(self, chosen: Bools, keep: Floats | None, n_left_out: int) -> Estimate | None:
        deaths = np.bincount(self.time_of[chosen], minlength=self.n_times).astype(float)
        linear = self.event_x[chosen].sum(axis=0)
        beta, size = self.start_at.copy(), 1.0
        step, best = np.zeros_like(beta), -np.inf
        for _ in range(_MOST_STEPS):
            trial = beta + size * step
            loglik, score, information, _ = self._evaluate(trial, deaths, linear, keep)
            if not np.isfinite(loglik) or loglik < best - 1e-9 * (1 + abs(best)):
                size /= 2
                if size < 1e-4:
                    return None
                continue
            beta, best, size = trial, loglik, 1.0
            try:
                step = np.linalg.solve(information, score)
            except np.linalg.LinAlgError:
                return None
            if not np.isfinite(step).all() or np.abs(step * self.scale).max() > _FAR:
                return None
            if 0.5 * float(score @ step) <= _TOLERANCE * (1 + abs(loglik)):
                return self._finish(beta + step, chosen, deaths, linear, keep, n_left_out)
        return None

    def _evaluate(
        self, beta: Floats, deaths: Floats, linear: Floats, keep: Floats | None
    ) -> tuple[float, Floats, Floats, tuple[Floats, Floats]]:
        eta = self.x @ beta
        shift = eta.max()
        risk = np.exp(eta - shift)
        if keep is not None:
            risk *= keep
        total = np.add.reduceat(risk, self.begin)
        used = deaths > 0
        total = np.where(used, total, 1.0)
        mean = np.add.reduceat(self.x * risk[:, None], self.begin, axis=0) / total[:, None]
        expected = risk * (deaths / total)[self.at]
        loglik = float(linear @ beta - deaths @ (np.log(total) + shift))
        score = linear - deaths @ mean
        centred = self.x - mean[self.at]
        information = (centred * expected[:, None]).T @ centred
        return loglik, score, information, (mean, expected)

    def _finish(
        self, beta: Floats, chosen: Bools, deaths: Floats, linear: Floats, keep: Floats | None, n_left_out: int
    ) -> Estimate | None:
        loglik, _, information, (mean, expected) = self._evaluate(beta, deaths, linear, keep)
        root = np.sqrt(np.diag(information))
        if not (np.isfinite(loglik) and (root > 0).all()):
            return None
        if np.linalg.eigvalsh(information / np.outer(root, root))[0] < 1e-9:
            return None
        inverse = np.linalg.inv(information)
        covariance = inverse
        if self.cluster is not None and self.event_cluster is not None:
            pulled = expected[:, None] * (self.x - mean[self.at])
            sums = [np.bincount(self.cluster, weights=column, minlength=self.n_cluster) for column in pulled.T]
            summed = -np.column_stack(sums)
            np.add.at(summed, self.event_cluster[chosen], self.event_x[chosen] - mean[self.time_of[chosen]])
            groups = self.n_cluster - n_left_out
            if groups < 2:
                return None
            factor = groups / (groups - 1) if self.problem.model.correction == "stata" else 1.0
            influence = summed @ inverse
            covariance = factor * influence.T @ influence
        return Estimate(beta, np.asarray(covariance, dtype=np.float64), int(chosen.sum()))

    def _by_cox(self, chosen: Bools, keep_rows: Bools | None) -> Estimate:
        """Fit by `CoxPH`: other ties, or a model without an estimate, whose reason it gives."""
        return refit(self.problem, self.candidates[chosen], keep_rows)


def refit(problem: Problem, exits: Integers, keep_rows: Bools | None = None) -> Estimate:
    """Fit a problem with the given rows as its exits, by `CoxPH`."""
    event = np.zeros(len(problem.frame), dtype=np.int8)
    event[exits] = 1
    frame = problem.frame.assign(**{problem.model.failure: event})
    if keep_rows is not None:
        frame = frame.loc[keep_rows].reset_index(drop=True)
    p = len(problem.model.covariates)
    try:
        fit = problem.model.estimate(frame)
    except (FitError, DataError) as error:
        status = error.status if isinstance(error, FitError) else "bad_data"
        return Estimate(np.full(p, np.nan), np.full((p, p), np.nan), int(event.sum()), status, str(error))
    return Estimate(fit.beta.copy(), fit.covariance.copy(), fit.n_event)
