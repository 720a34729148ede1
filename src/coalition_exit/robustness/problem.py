"""A model together with its rows: what every tool of this package starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import DataError, FitError, SpecError, nearest, one_of, shown
from coalition_exit.panel.build import build_panel
from coalition_exit.record.loading import Record
from coalition_exit.specs.models import ModelSpec
from coalition_exit.survival.cox.cox import CoxPH
from coalition_exit.survival.cox.cox_fit import CoxFit
from coalition_exit.survival.data.design import Design, build_design

SUBJECT, CLUSTER = "idvar", "coalid"
OK = "ok"


@dataclass(frozen=True)
class Model:
    """A Cox model in plain values, which travel to other processes.

    Attributes
    ----------
    key
        Name in the output.
    failure, covariates, strata
        Outcome and right-hand side.
    sample, censor
        Comparisons that keep a row (all must hold), and those where the failure does not count (any).
    choices
        Coding rules that depart from the article's, as `build_panel` takes them.
    variables
        Every column asked of `build_panel`.
    ties, cluster, correction
        As `CoxPH` takes them; ``cluster`` None for errors from the information.
    cause
        The kind of exit that is modelled, where the outcome tells kinds apart; others are censored.
    """

    key: str
    failure: str
    covariates: tuple[str, ...]
    strata: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    censor: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    ties: str = "breslow"
    cluster: str | None = CLUSTER
    correction: str = "stata"
    cause: int | None = None

    @classmethod
    def of(cls, spec: ModelSpec) -> Model:
        """Take over a model of a specification.

        Raises
        ------
        SpecError
            The model is not a Cox model.
        """
        if spec.estimator != "cox":
            expected = "cox (the only one that robustness knows)"
            raise SpecError(f"{spec.place} > estimator", expected, shown(spec.estimator))
        return cls(
            key=spec.key,
            failure=spec.failure,
            covariates=tuple(spec.covariates),
            strata=tuple(getattr(spec, "strata", ())),
            sample=tuple(expression.text for expression in spec.sample),
            censor=tuple(expression.text for expression in getattr(spec, "censor", ())),
            # Rules and not names: those that a specification defines are in no book that others have.
            choices={name: spec.coding[name] for name in spec.choices},
            variables=tuple(name for name in spec.variables if name in spec.coding),
            ties=spec.ties,
            cluster=spec.errors.by if spec.errors.type == "cluster" else None,
            correction=spec.errors.correction,
            cause=getattr(spec, "cause", None),
        )

    @property
    def formula(self) -> str:
        """The model as `CoxPH` reads it."""
        strata = (f"strata({name})" for name in self.strata)
        return f"Surv(start, stop, {self.failure}) ~ {' + '.join([*self.covariates, *strata])}"

    def panel(self, record: Record) -> pd.DataFrame:
        """Build the model's panel from a record."""
        wanted = self.variables or (self.failure, *self.covariates)
        return build_panel(record, variables=list(wanted), coding=dict(self.choices))

    def rows(self, panel: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a panel that the model uses, numbered anew."""
        keep = np.ones(len(panel), dtype=bool)
        if self.cause is not None:
            kind = panel[self.failure]
            panel = panel.assign(**{self.failure: (kind == self.cause).where(kind.notna()).astype(float)})
        for text in self.sample:
            keep &= Expression(text, f"{self.key} > sample").evaluate(panel)
        for text in self.censor:
            dropped = Expression(text, f"{self.key} > censor").evaluate(panel)
            panel = panel.assign(**{self.failure: panel[self.failure].mask(dropped, 0)})
        columns = [self.failure, *self.covariates, *self.strata, *([self.cluster] if self.cluster else [])]
        keep &= panel[columns].notna().all(axis=1).to_numpy()
        return panel.loc[keep].reset_index(drop=True)

    def estimate(self, frame: pd.DataFrame, **options: Any) -> CoxFit:
        """Fit the model to rows.

        Raises
        ------
        FitError
            There is no estimate.
        """
        if not len(frame):
            raise FitError("no_observations", "no row is left after the sample filters and missing values")
        estimator = CoxPH(ties=self.ties, correction=self.correction)
        return estimator.fit(self.formula, frame, id=SUBJECT, cluster=self.cluster, **options)


@dataclass(frozen=True, eq=False)
class Problem:
    """A model and the rows it is fitted to.

    Attributes
    ----------
    model : Model
    frame : DataFrame
        n rows, sorted by subject and time, with the model's columns and ``idvar``, ``start``, ``stop``. Read only.
    states, wars : dict
        Names by COW number; numbers stand in where they are missing.
    """

    model: Model
    frame: pd.DataFrame
    states: Mapping[int, str] = field(default_factory=dict)
    wars: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_record(cls, model: Model | ModelSpec, record: Record) -> Problem:
        """Build the panel of a model and keep the rows it uses."""
        plain = Model.of(model) if isinstance(model, ModelSpec) else model
        frame = plain.rows(plain.panel(record))
        states = {int(r.ccode): str(r.name) for r in record["states"].itertuples(index=False)}
        wars = {int(r.warnum): str(r.name) for r in record["wars"].itertuples(index=False)}
        return cls(plain, frame, states, wars)

    @classmethod
    def from_source(cls, spec: ModelSpec, source: Any) -> Problem:
        """Take the rows that a data source of `coalition_exit.runner` has for a model.

        A source that holds a record gives all columns of its panel; another gives the model's own.

        Raises
        ------
        SpecError
            The model is not a Cox model.
        FitError, DataError
            As the source's ``rows`` does.
        """
        record = getattr(source, "record", None)
        if isinstance(record, Record):
            return cls.from_record(spec, record)
        model, rows = Model.of(spec), source.rows(spec)
        frame = rows.frame
        clock = [name.strip() for name in rows.response[len("Surv(") : -1].split(",")][:-1]
        start = frame[clock[0]] if len(clock) == 2 else 0.0
        subject = frame[rows.id] if rows.id is not None else np.arange(len(frame))
        found = {SUBJECT: subject, "start": start, "stop": frame[clock[-1]], model.failure: frame[rows.event]}
        frame = frame.assign(**found).sort_values([SUBJECT, "stop"], kind="stable").reset_index(drop=True)
        names = {
            by: {int(code): str(source.name_group(by, code)) for code in frame[by].unique()} if by in frame else {}
            for by in ("ccode", "warnum")
        }
        return cls(model, frame, names["ccode"], names["warnum"])

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        failure: str,
        covariates: Sequence[str],
        *,
        cluster: str | None = CLUSTER,
        ties: str = "breslow",
        correction: str = "stata",
    ) -> Problem:
        """Take rows as they are: columns ``idvar``, ``start``, ``stop``, outcome, covariates, cluster.

        Raises
        ------
        DataError
            A column is missing, or holds missing values.
        """
        needed = [SUBJECT, "start", "stop", failure, *covariates, *([cluster] if cluster else [])]
        for name in needed:
            if name not in frame.columns:
                raise DataError("frame", f"a column {name!r}", one_of(frame.columns, 30), nearest(name, frame.columns))
            if frame[name].isna().any():
                row = int(np.argmax(frame[name].isna()))
                raise DataError(f"frame, row {row}, column {name}", "a value", "a missing value")
        ordered = frame.sort_values([SUBJECT, "stop"], kind="stable").reset_index(drop=True)
        model = Model("model", failure, tuple(covariates), ties=ties, cluster=cluster, correction=correction)
        return cls(model, ordered)

    @property
    def event(self) -> NDArray[np.bool_]:
        """Which rows end in an exit, shape (n,)."""
        return self.frame[self.model.failure].to_numpy() == 1

    @property
    def n_cluster(self) -> int | None:
        return int(self.frame[self.model.cluster].nunique()) if self.model.cluster else None

    def require_plain(self, what: str) -> None:
        """Refuse strata, of which some tools know nothing."""
        if self.model.strata:
            raise DataError("strata", f"a model without strata for {what}", ", ".join(self.model.strata))

    def require(self, *names: str, place: str) -> None:
        """Refuse names that are not covariates of the model."""
        for name in names:
            if name not in self.model.covariates:
                hint = nearest(name, self.model.covariates)
                raise DataError(place, one_of(self.model.covariates, 30), repr(name), hint)

    def rows_where(self, text: str, place: str = "where") -> NDArray[np.bool_]:
        """Evaluate a comparison on the rows, shape (n,)."""
        return np.asarray(Expression(text, place).evaluate(self.frame))

    def fit(self, offset: ArrayLike | None = None) -> CoxFit:
        """Fit the model to the rows as they are.

        Raises
        ------
        FitError
            There is no estimate.
        """
        return self.model.estimate(self.frame, offset=offset)

    def design(self) -> Design:
        """Return the arrays of the model, for fits that change few of them."""
        return build_design(self.model.formula, self.frame, id=SUBJECT, cluster=self.model.cluster)

    def state_name(self, ccode: int) -> str:
        return self.states.get(int(ccode), f"state {int(ccode)}")

    def war_name(self, warnum: int) -> str:
        return self.wars.get(int(warnum), f"war {int(warnum)}")


def degrees_of_freedom(problem: Problem) -> float:
    """Complete-data degrees of freedom: clusters less one, or events less coefficients without clusters."""
    if problem.n_cluster is not None:
        return float(problem.n_cluster - 1)
    return float(max(int(problem.event.sum()) - len(problem.model.covariates), 1))
