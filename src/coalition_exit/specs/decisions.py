"""Reading the ``choices`` block: every option is checked against the reference model before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coalition_exit.coding.expressions import NUMBER, Expression, Kind
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.choices import (
    Choices,
    Decision,
    DecisionEntry,
    Option,
    OptionNames,
    Patch,
    Subsets,
    Sweep,
    include,
)
from coalition_exit.specs.models import ModelReader, ModelSpec
from coalition_exit.specs.schema import ModelDefaults, ModelEntry
from coalition_exit.specs.vocabulary import Vocabulary
from coalition_exit.specs.yaml_file import Path_, YamlFile

_MOST_STEPS = 10_000
Vocabularies = Callable[[ModelEntry, ModelDefaults, Path_], Vocabulary]


class DecisionReader:
    """Turns the block into decisions; every option is checked against the reference model.

    Parameters
    ----------
    file
        The parsed file, for places.
    choices
        Its block.
    reference
        The reference model.
    vocabulary
        Makes the vocabulary of a patch at a place: what its names may be.
    """

    def __init__(self, file: YamlFile, choices: Choices, reference: ModelSpec, vocabulary: Vocabularies) -> None:
        self.file, self.choices, self.reference, self._vocabulary = file, choices, reference, vocabulary
        self.base = list(reference.covariates)
        self._set_by: dict[str, str] = {}

    def read(self) -> tuple[Decision, ...]:
        """Return the decisions in the order of the file.

        Raises
        ------
        SpecError
            On a name that does not exist, two decisions that set the same thing, an empty range.
        """
        decisions: list[Decision] = []
        for name, entry in self.choices.decisions.items():
            decisions += self._decision(name, entry)
        names = [d.name for d in decisions]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(self._place("decisions"), "decisions of different names", f"{shown(name)} twice")
        decisions = [self._with_reference(d) for d in decisions]
        self._check_names(names)
        self._check_coded(decisions)
        for term in self.choices.focus:
            self._check_slot(term, ("focus", term), decisions)
        for key, values in self._scenarios():
            for term in values:
                self._check_slot(term, ("survival", key, term), decisions)
        return tuple(decisions)

    def _scenarios(self) -> list[tuple[str, dict[str, float]]]:
        gap = self.choices.survival
        return [] if gap is None else [("from", gap.start), ("to", gap.stop)]

    def exclusions(self, decisions: Sequence[Decision]) -> tuple[tuple[Expression, ...], tuple[Expression, ...]]:
        """Return the checked ``allow_if`` and ``forbid_if``."""
        kinds = {d.name: NUMBER if d.numeric else Kind("text", OptionNames(d.options)) for d in decisions}
        expected = f"a comparison of a decision with an option, e.g. {_example(decisions[0])}"
        found = []
        for key in ("allow_if", "forbid_if"):
            own = []
            for n, text in enumerate(getattr(self.choices, key) or []):
                expression = Expression(text, self._place(key, n), expected)
                expression.check_columns(kinds)
                own.append(expression)
            found.append(tuple(own))
        return found[0], found[1]

    def _place(self, *path: str | int) -> str:
        return self.file.place(("choices", *path))

    def _decision(self, name: str, entry: DecisionEntry) -> list[Decision]:
        kinds = [key for key in ("options", "sweep", "subsets_of", "include_each") if getattr(entry, key) is not None]
        if len(kinds) != 1:
            expected = "one of options, sweep, subsets_of, include_each"
            raise SpecError(self._place("decisions", name), expected, " and ".join(kinds) or "none")
        if entry.always is not None and kinds[0] not in ("subsets_of", "include_each"):
            raise SpecError(self._place("decisions", name, "always"), "'always' beside sets of controls alone", "one")
        label = entry.label or name
        if entry.options is not None:
            return [Decision(name, label, "options", self._listed(name, entry.options), 0)]
        if entry.sweep is not None:
            return [Decision(name, label, "sweep", self._swept(name, entry.sweep), 0)]
        controls = entry.subsets_of or entry.include_each or []
        self._check_controls(name, kinds[0], controls, entry.always or [])
        if entry.subsets_of is not None:
            return [Decision(name, label, "subsets", Subsets(controls, entry.always or [], self.base), 0)]
        return [self._in_or_out(name, label, control, entry.always or []) for control in controls]

    def _in_or_out(self, name: str, label: str, control: str, always: Sequence[str]) -> Decision:
        options = [
            Option("in", "in", include([control], [control], self.base, always)),
            Option("out", "out", include([], [control], self.base, always)),
        ]
        # The reference model's own comes first.
        options = options if control in self.base else options[::-1]
        return Decision(f"{name}_{control}", f"{label}: {control}", "each", tuple(options), 0)

    def _check_controls(self, name: str, key: str, controls: Sequence[str], always: Sequence[str]) -> None:
        for kind, names in ((key, controls), ("always", always)):
            for n, control in enumerate(names):
                path = ("decisions", name, kind, n)
                if names.index(control) < n or (kind == "always" and control in controls):
                    raise SpecError(self._place(*path), "each control once", f"{shown(control)} twice")
                patch = Patch() if control in self.base else Patch(add=[control])
                self._check_patch(patch, ("choices", *path))
                self._claim(f"control {control}", name, path)

    def _listed(self, name: str, entries: Mapping[str, Patch | None]) -> tuple[Option, ...]:
        if not entries:
            raise SpecError(self._place("decisions", name, "options"), "at least one option", "none")
        options = []
        for key, entry in entries.items():
            path = ("decisions", name, "options", key)
            patch = entry or Patch()
            self._check_patch(patch, ("choices", *path))
            for what, field in touched(patch):
                self._claim(what, name, (*path, field))
            options.append(Option(key, key, patch))
        return tuple(options)

    def _swept(self, name: str, sweep: Sweep) -> tuple[Option, ...]:
        path = ("decisions", name, "sweep")
        if sweep.stop < sweep.start:
            raise SpecError(self._place(*path, "to"), f"a number from {sweep.start:g} on", shown(sweep.stop))
        count = int((sweep.stop - sweep.start) / sweep.step + 1e-9) + 1
        if count > _MOST_STEPS:
            raise SpecError(self._place(*path, "step"), f"at most {_MOST_STEPS} values", str(count))
        names = [sweep.variable] if isinstance(sweep.variable, str) else sweep.variable
        options = []
        for n in range(count):
            value = sweep.start + n * sweep.step
            value = round(value, 12) if isinstance(value, float) else value
            patch = Patch(coding={variable: {sweep.parameter: value} for variable in names})
            options.append(Option(f"{value:.12g}", float(value), patch))
        for option in options:
            self._check_sweep(option.patch, path)
        for what, _ in touched(options[0].patch):
            self._claim(what, name, path)
        return tuple(options)

    def _check_sweep(self, patch: Patch, path: Path_) -> None:
        entry = ModelEntry(key="sweep", coding=patch.coding)
        self._vocabulary(entry, self._as_defaults(), ("choices", *path)).rules(patch.coding or {})

    def _check_patch(self, patch: Patch, at: Path_) -> None:
        """Read the reference model with the patch, for its errors."""
        given = {key: getattr(patch, key) for key in patch.model_fields_set}
        defaults = self._as_defaults()
        if given.get("outcome") is not None or given.get("failure") is not None:
            defaults = defaults.model_copy(update={"outcome": None, "failure": None})
        if given.get("estimator") not in (None, "cox"):
            defaults = defaults.model_copy(update={"ties": None, "strata": None})
        entry = ModelEntry(key="option", **given)
        ModelReader(self.file, at, entry, defaults, self._vocabulary(entry, defaults, at)).read()

    def _as_defaults(self) -> ModelDefaults:
        ref = self.reference
        given = {
            "failure": ref.failure, "outcome": ref.outcome, "covariates": list(ref.covariates),
            "sample": [e.text for e in ref.sample], "censor": [e.text for e in ref.censor],
            "coding": dict(ref.choices), "estimator": ref.estimator, "ties": ref.ties,
            "strata": list(ref.strata), "discrete": ref.discrete, "errors": ref.errors,
        }  # fmt: skip
        return ModelDefaults.model_validate({key: value for key, value in given.items() if value})

    def _claim(self, what: str, decision: str, path: Path_) -> None:
        """Note which decision sets something; two that set the same would hide each other."""
        other = self._set_by.setdefault(what, decision)
        if other != decision:
            got = f"{what} is set by the decision {shown(other)} too"
            raise SpecError(self._place(*path), "what no other decision sets", got)

    def _check_coded(self, decisions: Sequence[Decision]) -> None:
        """Refuse a choice of coding for a variable that no spec has: it would change nothing, in silence."""
        used = self._used(decisions)
        for name, entry in self.choices.decisions.items():
            coded: list[tuple[Path_, str]] = [
                (("decisions", name, "options", key, "coding", variable), variable)
                for key, patch in (entry.options or {}).items() if patch is not None
                for variable in patch.coding or {}
            ]  # fmt: skip
            if entry.sweep is not None:
                swept = [entry.sweep.variable] if isinstance(entry.sweep.variable, str) else entry.sweep.variable
                coded += [(("decisions", name, "sweep", "variable"), variable) for variable in swept]
            for path, variable in coded:
                if variable not in used:
                    got, hint = shown(variable), nearest(variable, sorted(used))
                    raise SpecError(self._place(*path), "a variable that some spec has", got, hint)

    def _used(self, decisions: Sequence[Decision]) -> set[str]:
        """Return every variable of the reference model and of the options, and the subjects."""
        ref = self.reference
        used = {"subjects", ref.failure, ref.outcome, ref.errors.by, *ref.covariates, *ref.strata}
        used |= {name for e in (*ref.sample, *ref.censor) for name in e.names}
        for decision in decisions:
            if isinstance(decision.options, Subsets):
                used |= {*decision.options.controls, *decision.options.always}
                continue
            for patch in (option.patch for option in decision.options):
                used |= {patch.failure or "", patch.outcome or "", *(patch.covariates or ()), *(patch.strata or ())}
                used |= {*(patch.add or ()), *(patch.replace or {}).values()}
                used |= {patch.errors.by} if patch.errors is not None else set()
                tests = [*(patch.sample or ()), *(patch.censor or ())]
                used |= {name for text in tests for name in Expression(text).names}
        return used - {""}

    def _check_slot(self, term: str, path: Path_, decisions: Sequence[Decision]) -> None:
        slots = list(self.base)
        for decision in decisions:
            if decision.kind == "subsets":
                slots += decision.options.controls  # type: ignore[attr-defined]
            else:
                slots += [name for option in decision.options for name in option.patch.add or []]
        if term not in slots:
            raise SpecError(self._place(*path), one_of(dict.fromkeys(slots), 40), shown(term), nearest(term, slots))

    def _check_names(self, names: Sequence[str]) -> None:
        for name in self.choices.reference or {}:
            if name not in names:
                raise SpecError(self._place("reference", name), one_of(names, 40), shown(name), nearest(name, names))

    def _with_reference(self, decision: Decision) -> Decision:
        wanted = (self.choices.reference or {}).get(decision.name)
        if wanted is None:
            return decision
        text = f"{wanted:.12g}" if isinstance(wanted, int | float) else wanted
        names = OptionNames(decision.options)
        if text not in names:
            place = self._place("reference", decision.name)
            raise SpecError(place, one_of(names, 30), shown(wanted), nearest(text, names[:1000]))
        position = next(n for n, name in enumerate(names) if name == text)
        return Decision(decision.name, decision.label, decision.kind, decision.options, position)


def _example(decision: Decision) -> str:
    """Return a comparison of a decision with its last option."""
    option = decision.options[len(decision.options) - 1]
    return f"{decision.name} < {option.name}" if decision.numeric else f'{decision.name} == "{option.name}"'


def touched(patch: Patch) -> list[tuple[str, str]]:
    """Return what a patch sets, so that no other decision sets it too, and the key that does."""
    found = []
    for key in patch.model_fields_set:
        value = getattr(patch, key)
        if value is None or key in ("sample", "censor"):
            continue
        if key in ("add", "drop"):
            found += [(f"control {name}", key) for name in value]
        elif key == "replace":
            found += [(f"covariate {name}", key) for name in value]
        elif key == "coding":
            for name, choice in value.items():
                parts = ["rule"] if isinstance(choice, str) else list(choice)
                found += [(f"{part} of {name}", key) for part in parts]
        else:
            found.append(("outcome" if key == "failure" else key, key))
    return found
