"""From one entry of a file and the file's defaults to a model with nothing left to default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.rules import Rule
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.schema import Discrete, Errors, ModelDefaults, ModelEntry
from coalition_exit.specs.vocabulary import Vocabulary
from coalition_exit.specs.yaml_file import Path_, YamlFile

CONSTANT = "_cons"


@dataclass(frozen=True)
class ModelSpec:
    """One model, with nothing left to default.

    Attributes
    ----------
    key, label, group
        Name in files, column head, spanning head.
    failure
        Outcome of a hazard model; "" for a regression of rows.
    outcome
        Outcome of a regression of rows; "" for a hazard model.
    covariates, strata
        Right-hand side.
    sample
        Comparisons that keep a row: all must hold.
    censor
        Comparisons; where any holds the failure does not count.
    coding
        Coding rule of every variable the model uses, the subjects' included.
    choices
        Those of them that depart from the article's, as the file gives them.
    estimator, ties, discrete, errors
        How it is estimated; ``ties`` is "" and ``discrete`` None where they play no part.
    place
        Where it stands in its file.
    cause
        Kind of exit that is modelled; None where the failure knows one kind only.
    replaced
        Covariate of the defaults -> the one in its place.
    """

    key: str
    label: str
    group: str
    failure: str
    outcome: str
    covariates: tuple[str, ...]
    strata: tuple[str, ...]
    sample: tuple[Expression, ...]
    censor: tuple[Expression, ...]
    coding: Mapping[str, Rule]
    choices: Mapping[str, Any]
    estimator: str
    ties: str
    discrete: Discrete | None
    errors: Errors
    place: str
    cause: int | None = None
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The label with its group, which tells columns of the same label apart."""
        return f"{self.group}: {self.label}" if self.group else self.label

    @property
    def variables(self) -> list[str]:
        """Every column the model needs."""
        tested = [name for e in (*self.sample, *self.censor) for name in e.names]
        return list(dict.fromkeys([*self.estimation_columns, *tested]))

    @property
    def estimation_columns(self) -> list[str]:
        """Columns whose missing values leave a row out: outcome, covariates, strata, cluster."""
        return list(dict.fromkeys([self.failure or self.outcome, *self.row_columns]))

    @property
    def row_columns(self) -> list[str]:
        """The same without the outcome."""
        names = [*self.covariates, *self.strata]
        if self.errors.type == "cluster":
            names.append(self.errors.by)
        return list(dict.fromkeys(names))

    @property
    def is_cox(self) -> bool:
        """Whether it is a Cox model."""
        return self.estimator == "cox"

    @property
    def estimator_name(self) -> str:
        """Name in ``models.csv``: cox, probit (of rows), discrete_logit (a hazard), ..."""
        return self.estimator if self.is_cox or self.discrete is None else f"discrete_{self.estimator}"

    @property
    def has_constant(self) -> bool:
        """Whether an intercept ``_cons`` stands among its terms."""
        return self.estimator in ("logit", "cloglog", "probit")

    @property
    def terms(self) -> tuple[str, ...]:
        """Terms that a table may name, in their order; duration terms of discrete time are not listed."""
        return (*self.covariates, CONSTANT) if self.has_constant else self.covariates

    @property
    def formula(self) -> str:
        """Right-hand side of the model's formula."""
        return " + ".join([*self.covariates, *(f"strata({name})" for name in self.strata)])


class ModelReader:
    """Reads one entry of ``models``; every error names the place in the file.

    Parameters
    ----------
    file
        The parsed file, for places.
    at
        Key path of the entry: ``("models", 0)``.
    entry, defaults
        The entry and the file's defaults.
    vocabulary
        What its names may be.
    """

    def __init__(
        self, file: YamlFile, at: Path_, entry: ModelEntry, defaults: ModelDefaults, vocabulary: Vocabulary
    ) -> None:
        self.file, self.at, self.entry, self.defaults, self.names = file, at, entry, defaults, vocabulary
        self.choices = choices_of(entry, defaults)

    def read(self) -> ModelSpec:
        """Return the model.

        Raises
        ------
        SpecError
            On a name that does not exist, a covariate twice, a filter that is none, an option that
            its estimator does not know.
        """
        estimator = self._chosen("estimator") or "cox"
        failure, outcome = self._outcome(estimator)
        covariates = self._covariates(failure or outcome)
        strata = self._strata(estimator, covariates, failure)
        sample, censor = self._filters("sample"), self._filters("censor")
        if censor and outcome:
            raise self._refused("censor", "no 'censor' in a regression of rows: it has no failure to set to 0")
        errors = self._errors()
        named = (*sample, *censor)
        used = {failure or outcome, *covariates, *strata, *(name for e in named for name in e.names)}
        if errors.type == "cluster":
            used.add(errors.by)
        coding = self.names.rules([*used, *self.choices])
        used.add("subjects")
        return ModelSpec(
            key=self.entry.key,
            label=self.entry.label or self.entry.key,
            group=self.entry.group or "",
            failure=failure,
            outcome=outcome,
            covariates=tuple(covariates),
            strata=tuple(strata),
            sample=sample,
            censor=censor,
            coding=MappingProxyType({name: rule for name, rule in coding.items() if name in used}),
            choices=MappingProxyType({name: choice for name, choice in self.choices.items() if name in used}),
            estimator=estimator,
            ties=self._ties(estimator),
            discrete=self._discrete(estimator, outcome),
            errors=errors,
            place=self._place(),
            cause=self._cause(estimator, failure),
            replaced=MappingProxyType(dict(self.entry.replace or {})),
        )

    def _chosen(self, name: str) -> Any:
        own = getattr(self.entry, name)
        return getattr(self.defaults, name) if own is None else own

    def _place(self, *path: str | int) -> str:
        return self.file.place((*self.at, *path))

    def _path(self, name: str, *more: str | int) -> Path_:
        """Return where the file gives a value that may stand in the entry or in the defaults."""
        inherited = getattr(self.entry, name) is None and getattr(self.defaults, name) is not None
        return ("defaults", name, *more) if inherited else (*self.at, name, *more)

    def _refused(self, name: str, expected: str) -> SpecError:
        return SpecError(self.file.place(self._path(name)), expected, "one")

    def _outcome(self, estimator: str) -> tuple[str, str]:
        """Return failure and outcome, one of them ""; an entry's own takes the place of the default one."""
        failure, outcome = self.entry.failure, self.entry.outcome
        if failure is None and outcome is None:
            failure, outcome = self.defaults.failure, self.defaults.outcome
        if failure is not None and outcome is not None:
            raise self._refused("outcome", "either 'failure' (a hazard) or 'outcome' (a regression of rows)")
        if outcome is not None:
            place = self.file.place(self._path("outcome"))
            if estimator in ("cox", "fine_gray"):
                hint = "Did you mean 'failure'? Or choose estimator: probit, logit or cloglog"
                raise SpecError(place, "no 'outcome' in a Cox model", shown(outcome), hint)
            self.names.check(outcome, place)
            return "", outcome
        if failure is None:
            expected = "a key 'failure'" if estimator in ("cox", "fine_gray") else "a key 'failure' or 'outcome'"
            raise SpecError(self._place(), expected, "none, neither here nor in defaults")
        self.names.check_failure(failure, self.file.place(self._path("failure")))
        return failure, ""

    def _ties(self, estimator: str) -> str:
        ties = self._chosen("ties")
        if estimator == "cox" or (estimator == "fine_gray" and ties in (None, "breslow", "efron")):
            return ties or "breslow"
        if estimator == "fine_gray":
            raise self._refused("ties", "breslow or efron with fine_gray")
        if self.entry.ties is not None:
            raise self._refused("ties", "'ties' in a Cox model alone")
        return ""

    def _cause(self, estimator: str, failure: str) -> int | None:
        """Return the kind of exit; kinds are told apart by exit_cause, or by a column of a file of one's own."""
        kinds = bool(failure) and self.names.has_kinds(failure)
        cause = self._chosen("cause")
        if estimator == "fine_gray" and not kinds:
            place = self.file.place(self._path("failure"))
            hint = "In the record that is exit_cause"
            raise SpecError(place, "an outcome that tells kinds of exit apart", shown(failure), hint)
        if cause is not None and not kinds:
            if self.entry.cause is not None:
                raise self._refused("cause", "'cause' with an outcome that tells kinds of exit apart (exit_cause)")
            return None
        if kinds and cause is None and not self.names.codes_kinds:
            # In a file of one's own a 2 may be a kind of exit or a fault: only `cause` tells.
            if estimator == "fine_gray":
                raise SpecError(self._place(), "a key 'cause': the kind of exit that is modelled", "none")
            return None
        return (cause or 1) if kinds else None

    def _discrete(self, estimator: str, outcome: str) -> Discrete | None:
        if estimator in ("logit", "cloglog", "probit") and not outcome:
            return self._chosen("discrete") or Discrete()
        if self.entry.discrete is not None:
            raise self._refused("discrete", "'discrete' with a failure and the estimator logit, cloglog or probit")
        return None

    def _covariates(self, outcome: str) -> list[str]:
        base = self._chosen("covariates")
        if base is None and not self.entry.add:
            raise SpecError(self._place(), "a key 'covariates'", "none, neither here nor in defaults")
        result = list(base or [])
        new = self.entry.replace or {}
        for name in new:
            self._must_be_in(name, result, "replace", name)
        result = [new.get(name, name) for name in result]
        for n, name in enumerate(self.entry.drop or []):
            self._must_be_in(name, result, "drop", n)
            result.remove(name)
        result += self.entry.add or []
        for name in result:
            place = self.file.place(self._where(name))
            if result.count(name) > 1:
                raise SpecError(place, "each covariate once", f"{shown(name)} twice")
            if name == outcome:
                raise SpecError(place, "a covariate", f"the outcome {shown(name)}")
        if not result:
            raise SpecError(self._place(), "at least one covariate", "none")
        for name in result:
            self.names.check_covariate(name, self.file.place(self._where(name)))
        return result

    def _strata(self, estimator: str, covariates: Sequence[str], failure: str) -> list[str]:
        strata = self._chosen("strata") or []
        if strata and estimator not in ("cox", "fine_gray"):
            raise self._refused("strata", "'strata' in a Cox model alone")
        for n, name in enumerate(strata):
            place = self.file.place(self._path("strata", n))
            self.names.check(name, place)
            if name in covariates or name == failure or name in strata[:n]:
                raise SpecError(place, "a variable not yet in the model", shown(name))
        return strata

    def _must_be_in(self, name: str, covariates: list[str], *path: str | int) -> None:
        if name not in covariates:
            raise SpecError(self._place(*path), one_of(covariates), shown(name), nearest(name, covariates))

    def _where(self, covariate: str) -> Path_:
        """Return where the file names a covariate."""
        entry, inside = self.entry, self.at
        if covariate in (entry.add or []):
            return (*inside, "add", (entry.add or []).index(covariate))
        for old, new in (entry.replace or {}).items():
            if new == covariate:
                return (*inside, "replace", old)
        listed = self._chosen("covariates") or []
        return self._path("covariates", len(listed) - 1 - listed[::-1].index(covariate))

    def _filters(self, key: str) -> tuple[Expression, ...]:
        filters = []
        for n, text in enumerate(self._chosen(key) or []):
            place = self.file.place(self._path(key, n))
            expression = Expression(text, place)
            for name in expression.names:
                self.names.check(name, place)
            expression.check_columns(self.names.kinds(expression.names))
            filters.append(expression)
        return tuple(filters)

    def _errors(self) -> Errors:
        """Return the errors: what the entry leaves out holds as in the defaults."""
        base, own = self.defaults.errors or Errors(), self.entry.errors
        errors = base if own is None else base.model_copy(update=own.model_dump(exclude_unset=True))
        given = {*(own.model_fields_set if own else ()), *base.model_fields_set}
        if self.names.cluster is None and "by" not in given:
            # A data file of one's own has no cluster until one is named.
            if errors.type == "cluster" and "type" in given:
                place = self.file.place(self._path("errors"))
                raise SpecError(place, "a key 'by': the column that names the cluster", "none")
            return errors.model_copy(update={"type": "model"})
        if errors.type == "model":
            return errors.model_copy(update={"by": self.names.cluster or errors.by})
        mine = own is not None and "by" in own.model_fields_set
        path = (*self.at, "errors", "by") if mine else self._path("errors", "by")
        self.names.check(errors.by, self.file.place(path))
        return errors


def choices_of(entry: ModelEntry, defaults: ModelDefaults) -> dict[str, Any]:
    """Return the coding choices of a model: its own over the file's."""
    return {**(defaults.coding or {}), **(entry.coding or {})}


def places_of(file: YamlFile, at: Path_, entry: ModelEntry, defaults: ModelDefaults) -> dict[str, str]:
    """Return where each of these choices stands."""
    own = entry.coding or {}
    return {
        name: file.place((*at, "coding", name) if name in own else ("defaults", "coding", name))
        for name in choices_of(entry, defaults)
    }
