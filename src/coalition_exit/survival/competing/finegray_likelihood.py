"""The weighted partial likelihood of the Fine-Gray model."""

from __future__ import annotations

import numpy as np

from coalition_exit.survival.competing.finegray_risksets import FineGrayRiskSets
from coalition_exit.survival.cox.partial import Evaluation, PartialLikelihood
from coalition_exit.survival.cox.step_sums import per_time, sum_at_steps, sum_over_steps
from coalition_exit.survival.data.surv import Codes, Floats
from coalition_exit.survival.inference.vcov import sum_by_cluster


class FineGrayLikelihood(PartialLikelihood):
    """The partial likelihood on `FineGrayRiskSets`, whose rows change their weight over time.

    What `PartialLikelihood` may assume of risk sets to be fast does not hold for them, so value,
    derivatives and residuals are computed here from sums over risk sets alone.
    """

    def __init__(
        self, risk_sets: FineGrayRiskSets, x: Floats, weights: Floats | None, offset: Floats | None, ties: str
    ) -> None:
        super().__init__(risk_sets, x, weights, offset, ties)
        # The sums below do not centre within risk sets, as those for rows at risk once do.
        self.rows_at_risk_once = False

    def evaluate(self, beta: Floats) -> Evaluation:
        """Evaluate at ``beta``, shape (p,)."""
        rs, steps, x = self.risk_sets, self.steps, self.x
        eta = x @ beta
        if self.offset is not None:
            eta = eta + self.offset
        shift = float(eta.max()) if len(eta) else 0.0
        risk = np.exp(eta - shift)
        weighted = self.weights * risk
        denominator = sum_at_steps(rs, steps, weighted)
        # Event times of weight 0 may have a risk set of weight 0, which must not give 0 / 0.
        denominator[steps.weight == 0] = 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean = sum_at_steps(rs, steps, weighted[:, None] * x) / denominator[:, None]
            hazard = steps.weight / denominator
            loglik = float(self.event_weight @ (eta - shift) - steps.weight @ np.log(denominator))
            expected = weighted * sum_over_steps(rs, steps, hazard)
            information = (x * expected[:, None]).T @ x - (mean * steps.weight[:, None]).T @ mean
            score = x.T @ (self.event_weight - expected)
        return Evaluation(loglik, score, information, risk, hazard, mean, shift)

    def score_residuals(self, at: Evaluation) -> Floats:
        """Return the score residual of each row, unweighted, shape (m, p)."""
        rs, steps, x = self.risk_sets, self.steps, self.x
        spread = x * sum_over_steps(rs, steps, at.hazard)[:, None]
        residual = -at.risk[:, None] * (spread - sum_over_steps(rs, steps, at.hazard[:, None] * at.mean))
        mean = per_time(steps, at.mean / steps.count[:, None])
        residual[rs.event] += x[rs.event] - mean[rs.last[rs.event]]
        return residual

    def cluster_scores(self, at: Evaluation, cluster: Codes, n_cluster: int) -> Floats:
        """Sum the weighted score residuals within clusters: shape (n_cluster, p)."""
        return sum_by_cluster(self.score_residuals(at) * self.weights[:, None], cluster, n_cluster)
