"""Links of binary-outcome models: log-likelihood and derivatives of each row, without overflow or cancellation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logit, ndtr, ndtri

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats

Bools = NDArray[np.bool_]

_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)
# Below this, r + mu - 1 with r = mu / (exp(mu) - 1) loses digits, and its series has them all.
_SMALL = 0.1
_LARGEST = 700.0


@dataclass(frozen=True, eq=False)
class RowTerms:
    """Contributions of single rows; every array has the shape of the linear predictor.

    Attributes
    ----------
    loglik
        log P(outcome).
    first
        Its derivative by the linear predictor.
    observed
        Minus its second derivative, >= 0 (all three likelihoods are log-concave).
    expected
        Expectation of ``observed`` over the outcome.
    """

    loglik: Floats
    first: Floats
    observed: Floats
    expected: Floats


@dataclass(frozen=True)
class Link:
    """P(event) = F(eta) for a linear predictor eta.

    Attributes
    ----------
    name : str
    inverse
        F(eta).
    density
        The derivative of F.
    slope
        The derivative of ``density``, for the delta method of marginal effects.
    quantile
        The inverse of F, for starting values.
    rows
        ``rows(eta, y)``: `RowTerms` for outcomes ``y``.
    latent_variance : float
        Variance of the latent error, for the share of a random intercept in the total variance.
    ratio : str
        What exp(coefficient) is: "odds ratio", "hazard ratio", or "" where it means nothing.
    """

    name: str
    inverse: Callable[[Floats], Floats]
    density: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    quantile: Callable[[Floats], Floats]
    rows: Callable[[Floats, Bools], RowTerms]
    latent_variance: float
    ratio: str


def _logit_rows(eta: Floats, y: Bools) -> RowTerms:
    signed = np.where(y, eta, -eta)
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(signed))
    large = 1.0 / (1.0 + small)
    # 1 - F(signed), without cancellation on either side of 0.
    wrong = np.where(signed > 0, small * large, large)
    variance = small * large * large
    loglik = np.minimum(signed, 0.0) - np.log1p(small)
    return RowTerms(loglik, np.where(y, wrong, -wrong), variance, variance)


def _logit_density(eta: Floats) -> Floats:
    return np.asarray(expit(eta) * expit(-eta))


def _logit_slope(eta: Floats) -> Floats:
    return np.asarray(_logit_density(eta) * (expit(-eta) - expit(eta)))


def _log_normal(eta: Floats) -> Floats:
    return np.asarray(-0.5 * eta * eta - _LOG_ROOT_2PI)


def _probit_rows(eta: Floats, y: Bools) -> RowTerms:
    signed = np.where(y, eta, -eta)
    loglik = log_ndtr(signed)
    log_density = _log_normal(eta)
    mills = np.exp(log_density - loglik)
    expected = np.exp(2 * log_density - loglik - log_ndtr(-signed))
    return RowTerms(loglik, np.where(y, mills, -mills), mills * (mills + signed), expected)


def _probit_density(eta: Floats) -> Floats:
    return np.asarray(np.exp(_log_normal(eta)))


def _probit_slope(eta: Floats) -> Floats:
    return np.asarray(-eta * _probit_density(eta))


def _mean(eta: Floats) -> Floats:
    return np.asarray(np.exp(np.minimum(eta, _LARGEST)))


def _cloglog_rows(eta: Floats, y: Bools) -> RowTerms:
    mu = _mean(eta)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
        # exp(-700) = 0 in effect; mu / expm1(mu) tends to 1 as mu goes to 0.
        ratio = np.where(mu > 0, mu / np.expm1(mu), 1.0)
        square = mu * mu
        series = mu / 2 + square / 12 - square**2 / 720 + square**3 / 30240 - square**4 / 1209600
        excess = np.where(mu < _SMALL, series, ratio + mu - 1.0)
        log_event = np.where(mu > 0, np.log(-np.expm1(-mu)), eta)
        expected = mu * ratio
        return RowTerms(np.where(y, log_event, -mu), np.where(y, ratio, -mu), np.where(y, ratio * excess, mu), expected)


def _cloglog_inverse(eta: Floats) -> Floats:
    return np.asarray(-np.expm1(-_mean(eta)))


def _cloglog_density(eta: Floats) -> Floats:
    mu = _mean(eta)
    with np.errstate(under="ignore"):
        return np.asarray(mu * np.exp(-mu))


def _cloglog_slope(eta: Floats) -> Floats:
    return np.asarray(_cloglog_density(eta) * (1.0 - _mean(eta)))


def _cloglog_quantile(p: Floats) -> Floats:
    return np.asarray(np.log(-np.log1p(-p)))


LINKS = {
    "logit": Link("logit", expit, _logit_density, _logit_slope, logit, _logit_rows, np.pi**2 / 3, "odds ratio"),
    "cloglog": Link(
        "cloglog", _cloglog_inverse, _cloglog_density, _cloglog_slope, _cloglog_quantile, _cloglog_rows,
        np.pi**2 / 6, "hazard ratio",
    ),
    "probit": Link("probit", ndtr, _probit_density, _probit_slope, ndtri, _probit_rows, 1.0, ""),
}  # fmt: skip


def get_link(name: str) -> Link:
    """Return the link of that name.

    Raises
    ------
    DataError
        When there is none.
    """
    if name not in LINKS:
        raise DataError("link", one_of(LINKS), repr(name), nearest(str(name), LINKS))
    return LINKS[name]
