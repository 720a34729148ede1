"""From one option a decision to a model: patches applied to the reference model, and what identifies the result.

A covariate keeps the name it has in the reference model, its slot, when an option replaces it; estimates are
followed by slot. Patches commute, except that covariates stand in the order in which decisions add them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.rules import Rule
from coalition_exit.errors import SpecError
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.panel.build import KEYS
from coalition_exit.specs.choices import Patch
from coalition_exit.specs.loading import vocabulary_of
from coalition_exit.specs.models import ModelSpec
from coalition_exit.specs.schema import Discrete, Errors, ModelDefaults, ModelEntry

SUBJECTS = "subjects"
_COVARIATE_KEYS = {"covariates", "add", "drop", "replace"}


class Coding:
    """The rules of one combination of coding choices, looked up by variable as they are needed."""

    def __init__(self, multiverse: Multiverse, choices: Mapping[str, Any], shared: dict[str, Rule]) -> None:
        self.choices = dict(choices)
        self._shared = shared
        entry = ModelEntry(key="spec", coding=self.choices)
        data = multiverse.spec.data
        self._vocabulary = vocabulary_of(multiverse.file, ("choices",), entry, ModelDefaults(), data)
        self._coded = isinstance(data, str)
        self._tokens: dict[str, str] = {}
        self._rules: dict[str, Rule] = {}

    def rules(self, names: Sequence[str]) -> dict[str, Rule]:
        """Return the rule of each name that a rule codes, and that of the subjects.

        Raises
        ------
        SpecError
            When the choices do not fit together: a parameter that the chosen rule does not have.
        """
        if not self._coded:
            return {}
        new = [name for name in (SUBJECTS, *names) if name not in self._rules and name not in KEYS]
        for name in new:
            # A rule depends on the choice for its own variable alone, so codings share it.
            key = f"{name} {self.choices.get(name)!r}"
            if key not in self._shared:
                self._shared[key] = self._vocabulary.rules([name])[name]
            self._rules[name] = self._shared[key]
        return {name: self._rules[name] for name in (SUBJECTS, *names) if name in self._rules}

    @cached_property
    def subjects(self) -> str:
        """What the subjects are: codings of equal subjects have the same rows."""
        rules = self.rules([])
        return repr(rules[SUBJECTS].identity) if rules else ""

    def token(self, name: str) -> str:
        """Return what a variable is, however it is called: columns of equal tokens are equal."""
        if name not in self._tokens:
            rule = self.rules([name]).get(name)
            self._tokens[name] = f"column {name}" if rule is None else repr(rule.identity)
        return self._tokens[name]


@dataclass(frozen=True, eq=False)
class Setting:
    """A model apart from its covariates.

    Attributes
    ----------
    token
        Identifies everything in it: text that two settings share when they are the same.
    base
        The part of the token that decides which rows are used and what their outcome is.
    """

    failure: str
    outcome: str
    strata: tuple[str, ...]
    sample: tuple[Expression, ...]
    censor: tuple[Expression, ...]
    coding: Coding
    estimator: str
    ties: str
    discrete: Discrete | None
    errors: Errors
    token: str
    base: str

    @property
    def identity(self) -> str:
        """The token without the names that outcome and strata bear."""
        by = self.errors.correction if self.errors.type == "cluster" else ""
        return repr((self.base, self.estimator, self.ties, repr(self.discrete), self.errors.type, by))

    @property
    def names(self) -> list[str]:
        """Columns of the outcome, the strata, the clusters and the conditions."""
        tested = [name for e in (*self.sample, *self.censor) for name in e.names]
        clusters = [self.errors.by] if self.errors.type == "cluster" else []
        return list(dict.fromkeys([self.failure or self.outcome, *self.strata, *clusters, *tested]))


@dataclass(frozen=True, eq=False)
class Resolved:
    """One spec: its setting, and its covariates by slot and by variable; ``problem`` says why there is none."""

    setting: Setting | None
    slots: tuple[str, ...]
    variables: tuple[str, ...]
    tokens: tuple[str, ...]
    problem: str = field(default="")


class Resolver:
    """Applies options to the reference model; what specs share is resolved once."""

    def __init__(self, multiverse: Multiverse) -> None:
        self.multiverse, self.reference = multiverse, multiverse.reference
        self._decisions = multiverse.space.decisions
        self._on_covariates, self._on_rest = [], []
        for k, decision in enumerate(self._decisions):
            touched = {"add", "drop"} if decision.kind == "subsets" else {
                key for option in decision.options for key in option.patch.model_fields_set
            }  # fmt: skip
            if touched & _COVARIATE_KEYS:
                self._on_covariates.append(k)
            if touched - _COVARIATE_KEYS:
                self._on_rest.append(k)
        self._patch = lru_cache(1 << 16)(lambda k, n: self._decisions[k].options[n].patch)
        self._covariates = lru_cache(1 << 16)(self._make_covariates)
        self._setting = lru_cache(1 << 12)(self._make_setting)
        gap = multiverse.choices.survival
        self._compared = {*gap.start, *gap.stop} if gap is not None else set()
        self._codings: dict[str, Coding] = {}
        self._rules: dict[str, Rule] = {}

    def resolve(self, digits: Sequence[int]) -> Resolved:
        """Return the spec of a combination."""
        slots, variables, problem = self._covariates(tuple(int(digits[k]) for k in self._on_covariates))
        try:
            setting = self._setting(tuple(int(digits[k]) for k in self._on_rest))
            tokens = tuple(setting.coding.token(name) for name in variables)
        except SpecError as error:
            return Resolved(None, slots, variables, (), str(error))
        return Resolved(setting, slots, variables, tokens, problem)

    def model(self, found: Resolved, key: str = "spec") -> ModelSpec:
        """Return a resolved spec as the model that the runner knows."""
        setting = found.setting
        assert setting is not None
        names = [*setting.names, *found.variables]
        return replace(
            self.reference, key=key, label=key, group="", failure=setting.failure, outcome=setting.outcome,
            covariates=found.variables, strata=setting.strata, sample=setting.sample, censor=setting.censor,
            coding=MappingProxyType(setting.coding.rules(names)),
            choices=MappingProxyType({n: c for n, c in setting.coding.choices.items() if n in (SUBJECTS, *names)}),
            estimator=setting.estimator, ties=setting.ties, discrete=setting.discrete, errors=setting.errors,
            place=self.multiverse.file.place(("choices",)),
        )  # fmt: skip

    def identity(self, found: Resolved) -> Hashable:
        """Return what makes a spec the model it is: specs of equal identity are the same fit on any data."""
        setting = found.setting
        if setting is None or found.problem:
            return found.problem
        named = {*self.multiverse.choices.focus, *self._compared}
        slots = tuple(slot if slot in named else "" for slot in found.slots)
        return setting.identity, slots, found.tokens

    def recodes(self, found: Resolved) -> bool:
        """Tell whether a spec codes anything otherwise than the data come, which takes the facts of the record."""
        setting = found.setting
        if setting is None:
            return False
        return bool(setting.coding.choices.keys() & {SUBJECTS, *setting.names, *found.variables})

    def show(self, digits: Sequence[int]) -> str:
        """Return a spec in a few lines, as ``validate`` shows it."""
        found = self.resolve(digits)
        if found.setting is None or found.problem:
            return found.problem
        model = self.model(found)
        how = f"{model.estimator}, {model.ties} ties" if model.ties else model.estimator
        errors = f"errors clustered on {model.errors.by}" if model.errors.type == "cluster" else "model-based errors"
        lines = [f"  {model.failure or model.outcome} ~ {model.formula}  ({how}, {errors})"]
        lines += [f"  only rows with {e.text}" for e in model.sample]
        lines += [f"  {name}: {choice}" for name, choice in model.choices.items()]
        return "\n".join(lines)

    def _make_covariates(self, chosen: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        patches = [self._patch(k, n) for k, n in zip(self._on_covariates, chosen, strict=True)]
        listed = next((p.covariates for p in patches if p.covariates is not None), None)
        slots = list(self.reference.covariates if listed is None else listed)
        dropped = {name for p in patches for name in p.drop or []}
        slots = [name for name in slots if name not in dropped]
        for patch in patches:
            slots += [name for name in patch.add or [] if name not in slots]
        new = {old: name for p in patches for old, name in (p.replace or {}).items()}
        variables = [new.get(name, name) for name in slots]
        twice = sorted({name for name in variables if variables.count(name) > 1})
        problem = f"covariate twice: {', '.join(twice)}" if twice else "" if variables else "no covariates"
        return tuple(slots), tuple(variables), problem

    def _make_setting(self, chosen: tuple[int, ...]) -> Setting:
        ref = self.reference
        patches = [self._patch(k, n) for k, n in zip(self._on_rest, chosen, strict=True)]
        failure, outcome = ref.failure, ref.outcome
        for patch in patches:
            if patch.failure or patch.outcome:
                failure, outcome = patch.failure or "", patch.outcome or ""
        estimator = _last(patches, "estimator") or ref.estimator
        cox = estimator == "cox"
        ties = (_last(patches, "ties") or ref.ties or "breslow") if cox else ""
        hazard = not cox and bool(failure)
        discrete = (_last(patches, "discrete") or ref.discrete or Discrete()) if hazard else None
        strata = tuple((_last(patches, "strata") or ref.strata) if cox else ())
        errors = ref.errors
        for patch in patches:
            if patch.errors is not None:
                errors = errors.model_copy(update=patch.errors.model_dump(exclude_unset=True))
        sample, censor = list(ref.sample), list(ref.censor)
        for patch in patches:
            sample += [Expression(text) for text in patch.sample or []]
            censor += [Expression(text) for text in patch.censor or []]
        coding = self._coding(patches)
        by = errors.by if errors.type == "cluster" else ""
        tested = [f"{e.text} [{', '.join(coding.token(n) for n in e.names)}]" for e in (*sample, *censor)]
        base = repr((
            coding.subjects, coding.token(failure or outcome), bool(failure),
            tested, len(sample), by, [coding.token(name) for name in strata],
        ))  # fmt: skip
        names = (failure, outcome, strata)
        how = repr((names, estimator, ties, repr(discrete), errors.type, errors.correction if by else ""))
        return Setting(
            failure, outcome, strata, tuple(sample), tuple(censor), coding, estimator, ties, discrete, errors,
            token=f"{base} {how}", base=base,
        )  # fmt: skip

    def _coding(self, patches: Sequence[Patch]) -> Coding:
        merged: dict[str, Any] = dict(self.reference.choices)
        for patch in patches:
            for name, choice in (patch.coding or {}).items():
                merged[name] = _merge(merged.get(name), choice)
        key = repr(sorted(merged.items(), key=lambda item: item[0]))
        if key not in self._codings:
            if len(self._codings) > 4096:
                self._codings.clear()
            self._codings[key] = Coding(self.multiverse, merged, self._rules)
        return self._codings[key]


def _last(patches: Sequence[Patch], key: str) -> Any:
    found = [getattr(p, key) for p in patches if getattr(p, key) is not None]
    return found[-1] if found else None


def _merge(old: Any, new: Any) -> Any:
    """Lay one choice of coding over another: a rule's name, or parameters of whichever rule is chosen."""
    if old is None:
        return new
    parts = [{"rule": choice} if isinstance(choice, str) else dict(choice) for choice in (old, new)]
    return {**parts[0], **parts[1]}
