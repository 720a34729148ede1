"""From one entry of a file and the file's defaults to a model with nothing left to default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from coalition_exit.coding.expressions import NUMBER, Expression
from coalition_exit.coding.rules import Rule, load_rules
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.panel.build import KEYS, default_variables, resolve_rules
from coalition_exit.specs.schema import Errors, ModelDefaults, ModelEntry
from coalition_exit.specs.yaml_file import Path_, YamlFile

# Columns that name or date rows. Year, month, day, side and spell say something about them.
_NOT_COVARIATES = (
    "idvar", "coalid", "warnum", "ccode", "warday", "start", "stop", "finalobs", "subjects",
)  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """One model, with nothing left to default.

    Attributes
    ----------
    key, label, group
        Name in files, column head, spanning head.
    failure, covariates
        Outcome and right-hand side.
    sample
        Comparisons that keep a row.
    coding
        Coding rule of every variable the model uses, the subjects' included.
    choices
        Those of them that depart from the article's, as the file gives them.
    estimator, ties, errors
        How it is estimated.
    place
        Where it stands in its file.
    """

    key: str
    label: str
    group: str
    failure: str
    covariates: tuple[str, ...]
    sample: tuple[Expression, ...]
    coding: Mapping[str, Rule]
    choices: Mapping[str, Any]
    estimator: str
    ties: str
    errors: Errors
    place: str

    @property
    def head(self) -> str:
        """The label with its group, which tells columns of the same label apart."""
        return f"{self.group}: {self.label}" if self.group else self.label

    @property
    def variables(self) -> list[str]:
        """Every column the model needs."""
        return list(dict.fromkeys([*self.estimation_columns, *(name for e in self.sample for name in e.names)]))

    @property
    def estimation_columns(self) -> list[str]:
        """Columns whose missing values leave a row out: outcome, covariates, cluster."""
        names = [self.failure, *self.covariates]
        if self.errors.type == "cluster":
            names.append(self.errors.by)
        return list(dict.fromkeys(names))


class ModelReader:
    """Reads one entry of ``models``; every error names the place in the file.

    Parameters
    ----------
    file
        The parsed file, for places.
    k
        Position of the entry.
    entry, defaults
        The entry and the file's defaults.
    """

    def __init__(self, file: YamlFile, k: int, entry: ModelEntry, defaults: ModelDefaults) -> None:
        self.file, self.k, self.entry, self.defaults = file, k, entry, defaults
        self.choices = {**(defaults.coding or {}), **(entry.coding or {})}

    def read(self) -> ModelSpec:
        """Return the model.

        Raises
        ------
        SpecError
            On a name that does not exist, a covariate twice, a filter that is none.
        """
        failure, rule = self._failure()
        covariates = self._covariates()
        sample = self._sample()
        errors = self._errors()
        used = {failure, "subjects", *covariates, *(name for e in sample for name in e.names), errors.by} - set(KEYS)
        coding = {name: self._rule(name) for name in sorted(used)} | {failure: rule}
        for name in self.choices:
            self._rule(name)
        return ModelSpec(
            key=self.entry.key,
            label=self.entry.label or self.entry.key,
            group=self.entry.group or "",
            failure=failure,
            covariates=tuple(covariates),
            sample=sample,
            coding=MappingProxyType(coding),
            choices=MappingProxyType({name: choice for name, choice in self.choices.items() if name in used}),
            estimator=self._chosen("estimator") or "cox",
            ties=self._chosen("ties") or "breslow",
            errors=errors,
            place=self._place(),
        )

    def _chosen(self, name: str) -> Any:
        own = getattr(self.entry, name)
        return getattr(self.defaults, name) if own is None else own

    def _place(self, *path: str | int) -> str:
        return self.file.place(("models", self.k, *path))

    def _path(self, name: str, *more: str | int) -> Path_:
        """Return where the file gives a value that may stand in the entry or in the defaults."""
        inherited = getattr(self.entry, name) is None and getattr(self.defaults, name) is not None
        return ("defaults", name, *more) if inherited else ("models", self.k, name, *more)

    def _failure(self) -> tuple[str, Rule]:
        failure = self._chosen("failure")
        if failure is None:
            raise SpecError(self._place(), "a key 'failure'", "none, neither here nor in defaults")
        known = failure in self.choices or load_rules().default_for(failure) is not None
        rule = self._rule(failure) if known else None
        if rule is not None and rule.method == "exits":
            return failure, rule
        if rule is not None and failure in self.choices:
            raise SpecError(self._coding_place(failure), "a rule that codes an outcome", shown(rule.name))
        outcomes = [name for name, rule in resolve_rules(default_variables()).items() if rule.method == "exits"]
        place = self.file.place(self._path("failure"))
        raise SpecError(place, one_of(outcomes), shown(failure), nearest(failure, outcomes))

    def _covariates(self) -> list[str]:
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
            if result.count(name) > 1:
                raise SpecError(self.file.place(self._where(name)), "each covariate once", f"{shown(name)} twice")
        if not result:
            raise SpecError(self._place(), "at least one covariate", "none")
        for name in result:
            self._check_covariate(name, self.file.place(self._where(name)))
        return result

    def _must_be_in(self, name: str, covariates: list[str], *path: str | int) -> None:
        if name not in covariates:
            raise SpecError(self._place(*path), one_of(covariates), shown(name), nearest(name, covariates))

    def _where(self, covariate: str) -> Path_:
        """Return where the file names a covariate."""
        entry, inside = self.entry, ("models", self.k)
        if covariate in (entry.add or []):
            return (*inside, "add", (entry.add or []).index(covariate))
        for old, new in (entry.replace or {}).items():
            if new == covariate:
                return (*inside, "replace", old)
        listed = self._chosen("covariates") or []
        return self._path("covariates", len(listed) - 1 - listed[::-1].index(covariate))

    def _sample(self) -> tuple[Expression, ...]:
        sample = []
        for n, text in enumerate(self._chosen("sample") or []):
            place = self.file.place(self._path("sample", n))
            expression = Expression(text, place)
            for name in expression.names:
                self._check_known(name, place)
            # Every column of the panel is a number.
            expression.check_columns(dict.fromkeys(expression.names, NUMBER))
            sample.append(expression)
        return tuple(sample)

    def _errors(self) -> Errors:
        """Return the errors: what the entry leaves out holds as in the defaults."""
        base, own = self.defaults.errors or Errors(), self.entry.errors
        errors = base if own is None else base.model_copy(update=own.model_dump(exclude_unset=True))
        if errors.type == "cluster":
            given = own is not None and "by" in own.model_fields_set
            path = ("models", self.k, "errors", "by") if given else self._path("errors", "by")
            self._check_known(errors.by, self.file.place(path))
        else:
            errors = errors.model_copy(update={"by": "coalid"})
        return errors

    def _check_known(self, name: str, place: str, keys: Sequence[str] = KEYS) -> None:
        known = name in KEYS or name in self.choices or load_rules().default_for(name) is not None
        if not known or name == "subjects":
            raise load_rules().unknown_variable(name, place, [*keys, *self.choices])

    def _rule(self, name: str) -> Rule:
        if name not in self.choices:
            return resolve_rules([name])[name]
        place = self._coding_place(name)
        if name in KEYS:
            raise SpecError(place, "a variable that rules code", shown(name))
        rule = load_rules().resolve(name, self.choices[name], place)
        if (rule.method == "subjects") != (name == "subjects"):
            raise SpecError(place, "a rule that codes this kind of variable", shown(rule.name))
        return rule

    def _coding_place(self, name: str) -> str:
        own = name in (self.entry.coding or {})
        return self._place("coding", name) if own else self.file.place(("defaults", "coding", name))

    def _check_covariate(self, name: str, place: str) -> None:
        if name in _NOT_COVARIATES:
            raise SpecError(place, "a variable, not a key of the panel", shown(name))
        self._check_known(name, place, [key for key in KEYS if key not in _NOT_COVARIATES])
        if name not in KEYS and self._rule(name).method == "exits":
            if name in self.choices:
                place = self._coding_place(name)
            raise SpecError(place, "a covariate", f"the outcome {shown(name)}")
