"""Refits under draws of clusters, against the estimators on data in which drawn clusters stand several times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coalition_exit.errors import DataError
from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.fits import backend
from coalition_exit.multiverse.fits.tasks import Task
from coalition_exit.multiverse.null import kernel_cox, plain
from coalition_exit.multiverse.null.curves import null_curves
from coalition_exit.multiverse.null.draws import find_clusters
from coalition_exit.multiverse.null.models import CoxBlock, single_model
from coalition_exit.multiverse.null.refits import STATUSES, models_of, refit_model
from coalition_exit.survival import CoxPH, DiscreteHazard
from coalition_exit.survival.inference.bootstrap import cluster_weights
from coalition_exit.survival.inference.reweighted import reweighted_fits
from simulated_multiverse import MEASURES, engine, simulate

FRAME = simulate(5, 0.3, groups=25)
ERRORS = """
    ties: {options: {breslow: , efron: {ties: efron}}}
    errors: {options: {stata: , r: {errors: {correction: none}}, model: {errors: {type: model}}}}
"""
ESTIMATORS = """
    estimator:
      options:
        cox:
        strata: {strata: [late]}
        logit: {estimator: logit, discrete: {period: month, baseline: linear}}
        cloglog: {estimator: cloglog, discrete: {period: month, baseline: linear}}
        probit: {estimator: probit, discrete: {period: month, baseline: linear}}
        exact: {ties: exact}
"""


def copied(frame: pd.DataFrame, copies: np.ndarray) -> pd.DataFrame:
    """Return the data with every group as often as it is drawn, each copy a group of its own."""
    parts, n = [], 0
    for group, times in enumerate(copies.astype(int)):
        for _ in range(times):
            n += 1
            own = frame[frame["group"] == group]
            parts.append(own.assign(group=n, id=own["id"] + 10_000 * n))
    return pd.concat(parts, ignore_index=True)


def refits(made: object, copies: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return coefficient, standard error and status of each spec, by its place: (R,) each."""
    numbers = np.arange(made.multiverse.space.size)
    specs = made.distinct(made.multiverse.space.digits(numbers))[0]
    assert len(specs) == len(numbers)
    found = {}
    for model in models_of(made, specs, find_clusters(made, numbers)):
        if hasattr(model, "estimate"):
            coef, error, status = refit_model(model, copies)
            for k, at in enumerate(model.at):
                found[int(at)] = coef[:, k, 0], error[:, k, 0], status[:, k, 0]
    return found


COPIES = cluster_weights(25, 4, "multinomial", 1)


def test_a_draw_equals_the_data_with_copies_of_clusters() -> None:
    found = refits(engine(FRAME, ERRORS), COPIES)
    for r, copies in enumerate(COPIES):
        again = copied(FRAME, copies)
        for at, correction, cluster in ((0, "stata", "group"), (1, "none", "group"), (2, "stata", None)):
            fit = CoxPH(correction=correction).fit("Surv(start, stop, event) ~ x + c1", again, id="id", cluster=cluster)
            assert found[at][0][r] == pytest.approx(fit.coef["x"], rel=1e-8)
            assert found[at][1][r] == pytest.approx(fit.std_error["x"], rel=1e-5)
            assert found[at][2][r] == STATUSES.index("ok")


def test_efron_refits_are_those_of_case_weights() -> None:
    found = refits(engine(FRAME, ERRORS), COPIES)
    fit = CoxPH(ties="efron").fit("Surv(start, stop, event) ~ x + c1", FRAME, id="id", cluster="group")
    groups = FRAME["group"].to_numpy()
    expected = reweighted_fits(fit.state, COPIES, groups).coef[:, 0]
    np.testing.assert_allclose(found[3][0], expected, rtol=1e-8)
    for r, copies in enumerate(COPIES):
        own = FRAME.assign(w=copies[groups])
        weighted = CoxPH(ties="efron").fit("Surv(start, stop, event) ~ x + c1", own[own["w"] > 0], id="id", weights="w")
        assert found[5][1][r] == pytest.approx(weighted.std_error["x"], rel=1e-5)


def test_the_sample_itself_is_what_the_engine_reports() -> None:
    made = engine(FRAME, ERRORS)
    curves = null_curves(made, 2, seed=1)
    table = made.run(0, made.multiverse.space.size).to_pandas()
    np.testing.assert_allclose(curves.estimate[:, 0], table["estimate"], rtol=1e-12)
    np.testing.assert_allclose(curves.error[:, 0], table["std_error"], rtol=1e-12)


def test_compiled_and_plain_refits_agree() -> None:
    assert backend.name() == "numba"
    made = engine(FRAME, ERRORS)
    numbers = np.arange(made.multiverse.space.size)
    models = models_of(made, made.distinct(made.multiverse.space.digits(numbers))[0], find_clusters(made, numbers))
    copies = cluster_weights(25, 6, "multinomial", 3)
    # Two draws of few groups, for refits that fail.
    copies[4:] = 0
    copies[4, :2], copies[5, 7] = 4, 9
    for block in models:
        assert isinstance(block, CoxBlock)
        results = []
        for refit in (kernel_cox.refit, plain.refit):
            shape = (6, len(block.at), 1)
            coef, error, status = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int8)
            refit(
                block.x, block.off, block.deaths, block.own, block.home, copies, block.cols, block.count, block.focus,
                block.efron, block.kind, block.start, block.reference, block.error, 30, 0, 6, coef, error, status,
            )  # fmt: skip
            results.append((coef, error, status))
        (coef, error, status), other = results
        np.testing.assert_array_equal(status[:4], other[2][:4])
        np.testing.assert_allclose(coef[:4], other[0][:4], rtol=1e-9)
        np.testing.assert_allclose(error[:4], other[1][:4], rtol=1e-9)
        assert (status[4:] == other[2][4:]).all()


def test_a_spec_has_its_refits_whatever_else_is_refitted() -> None:
    made = engine(FRAME)
    one = null_curves(made, 7, seed=3)
    longer = null_curves(made, 12, seed=3)
    for name in ("shift", "statistic", "status"):
        np.testing.assert_array_equal(getattr(one, name), getattr(longer, name)[:7])
    assert not np.array_equal(one.shift, null_curves(made, 7, seed=4).shift)
    part = null_curves(made, 7, seed=3, numbers=np.array([5, 2]))
    np.testing.assert_array_equal(part.shift, one.shift[:, [5, 2]])


def test_strata_discrete_time_and_exact_ties() -> None:
    made = engine(FRAME, ESTIMATORS)
    found = refits(made, COPIES)
    for r, copies in enumerate(COPIES):
        again = copied(FRAME, copies)
        fit = CoxPH().fit("Surv(start, stop, event) ~ x + c1 + strata(late)", again, id="id", cluster="group")
        discrete = [
            DiscreteHazard(link=link, baseline="linear", period="month").fit(
                "Surv(start, stop, event) ~ x + c1", again, id="id", cluster="group"
            )
            for link in ("logit", "cloglog", "probit")
        ]
        for at, known in enumerate([fit, *discrete], 1):
            assert found[at][0][r] == pytest.approx(known.coef["x"], rel=1e-7)
            assert found[at][1][r] == pytest.approx(known.std_error["x"], rel=1e-5)
    curves = null_curves(made, 2, seed=1)
    assert curves.untested == {"not_tested: exact ties know no weights of clusters": 1}
    assert np.isnan(curves.shift[:, 5]).all()
    table = made.run(0, 6).to_pandas()
    np.testing.assert_allclose(curves.error[:5, 0], table["std_error"][:5], rtol=1e-8)


def test_compiled_and_plain_refits_in_discrete_time_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = FRAME.assign(c1=(FRAME["group"] == 3) * FRAME["c1"])
    copies = np.vstack([COPIES, np.eye(25)[:2] * 25])
    compiled = refits(engine(frame, ESTIMATORS), copies)
    monkeypatch.setattr("coalition_exit.multiverse.null.binary._COMPILED", ())
    plain = refits(engine(frame, ESTIMATORS), copies)
    for at in (2, 3):
        np.testing.assert_array_equal(compiled[at][2], plain[at][2])
        np.testing.assert_allclose(compiled[at][0][:4], plain[at][0][:4], rtol=1e-8)
        np.testing.assert_allclose(compiled[at][1][:4], plain[at][1][:4], rtol=1e-8)


def test_one_by_one_and_in_a_group_the_refits_are_the_same() -> None:
    made = engine(FRAME, ERRORS)
    numbers = np.arange(made.multiverse.space.size)
    drawn = find_clusters(made, numbers)
    together = refits(made, COPIES)
    for at, digits in enumerate(made.multiverse.space.digits(numbers)):
        spec = Resolver(made.multiverse).resolve(digits.tolist())
        model = single_model(made, Task(at, spec, spec.setting, np.array([0, 1])), drawn)
        coef, error, _ = refit_model(model, COPIES)
        np.testing.assert_allclose(coef[:, 0, 0], together[at][0], rtol=1e-8)
        np.testing.assert_allclose(error[:, 0, 0], together[at][1], rtol=1e-5)


def test_why_a_refit_has_no_estimate() -> None:
    # x is known of one group only; c1 is 1 in one group only, and x2 has an event-free group.
    frame = FRAME.assign(x=FRAME["x"] * (FRAME["group"] == 3))
    curves = null_curves(engine(frame), 40, seed=2)
    drawn = cluster_weights(25, 40, "multinomial", 2)[:, 3] > 0
    plain = curves.status[:, 0, 0]
    assert (plain[~drawn] == STATUSES.index("not_identified")).all()
    assert np.isin(plain[drawn], [STATUSES.index("ok"), STATUSES.index("no_maximum")]).all()
    outcomes = curves.outcomes().set_index("status")
    assert outcomes["refits"].sum() == 40 * 8
    assert outcomes.loc["not_identified", "refits"] >= (~drawn).sum()
    assert outcomes.loc["ok":"no_maximum", "share"].sum() == pytest.approx(1)


def test_a_control_that_vanishes_leaves_the_estimate() -> None:
    frame = FRAME.assign(c1=(FRAME["group"] == 3) * FRAME["c1"])
    curves = null_curves(engine(frame), 40, seed=2)
    lost = cluster_weights(25, 40, "multinomial", 2)[:, 3] == 0
    assert (curves.status[lost, 0, 0] == STATUSES.index("part")).all()
    again = copied(frame, cluster_weights(25, 40, "multinomial", 2)[lost][0])
    fit = CoxPH().fit("Surv(start, stop, event) ~ x", again, id="id", cluster="group")
    shift = curves.shift[lost, 0, 0][0]
    assert shift + curves.estimate[0, 0] == pytest.approx(fit.coef["x"], abs=1e-6)


def test_errors_on_groups_that_draws_cut_across_are_not_tested() -> None:
    decisions = "    errors: {options: {own: , across: {errors: {by: late}}, within: {errors: {by: id}}}}"
    made = engine(FRAME, decisions)
    curves = null_curves(made, 3, seed=1)
    assert curves.untested == {"not_tested: its standard errors are clustered on groups that group cuts across": 1}
    assert np.isfinite(curves.shift[:, [0, 2]]).all()
    again = copied(FRAME, cluster_weights(25, 3, "multinomial", 1)[0])
    fit = CoxPH().fit("Surv(start, stop, event) ~ x + c1", again, id="id", cluster="id")
    assert curves.shift[0, 2, 0] / curves.statistic[0, 2, 0] == pytest.approx(fit.std_error["x"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 0}, "replicates: expected a whole number from 1 on, got 0"),
        ({"seed": -1}, "seed: expected an integer >= 0"),
        ({"by": "grop"}, "grop"),
        ({"by": "one"}, "clusters drawn: expected at least two, got 1 of one"),
    ],
)
def test_bad_input(options: dict[str, object], message: str) -> None:
    made = engine(FRAME.assign(one=1))
    with pytest.raises(DataError, match=message):
        null_curves(made, **{"replicates": 2, "seed": 1, **options})


def test_progress_counts_specs() -> None:
    told: list[tuple[int, int]] = []
    null_curves(engine(FRAME, MEASURES), 1, seed=1, progress=lambda done, of: told.append((done, of)))
    assert told == [(8, 8)]
