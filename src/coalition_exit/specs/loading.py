"""From a YAML file to validated, fully spelled-out model specifications."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError

from coalition_exit.coding.expressions import Expression
from coalition_exit.coding.rules import Rule
from coalition_exit.errors import SpecError, nearest, one_of
from coalition_exit.panel.build import KEYS, default_variables, resolve_rules
from coalition_exit.specs.schema import Errors, Layout, ModelDefaults, ModelEntry, SpecFile, Statistic
from coalition_exit.specs.yaml_file import YamlFile, parse_yaml, read_yaml

_STATISTICS: tuple[str, ...] = ("n_obs", "n_subject", "n_event", "n_cluster")
# Keys of the panel that identify rows; a covariate must be a variable.
_NOT_COVARIATES = ("idvar", "start", "stop", "finalobs", "subjects")


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
    def variables(self) -> list[str]:
        """Every column the model needs."""
        names = [self.failure, *self.covariates, *(name for e in self.sample for name in e.names)]
        if self.errors.type == "cluster":
            names.append(self.errors.by)
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Spec:
    """A table of models, ready to run."""

    table: str
    title: str
    description: str
    data: str
    models: tuple[ModelSpec, ...]
    labels: Mapping[str, str]
    order: tuple[str, ...]
    stats: tuple[str, ...]
    note: str
    omit_from_figure: tuple[str, ...]
    path: str
    sha256: str

    def label_of(self, term: str) -> str:
        """Return the label of a term: the file's, else its rule's, else its name."""
        if term in self.labels:
            return self.labels[term]
        for model in self.models:
            if term in model.coding:
                return model.coding[term].label
        return term


def library_folder() -> Path:
    """Return the folder of the specifications that ship with the package."""
    installed = Path(str(resources.files("coalition_exit"))) / "library"
    if installed.is_dir():
        return installed
    # In a source tree they stand at the top of the repository.
    return Path(__file__).resolve().parents[3] / "specs"


def article_specs() -> list[Path]:
    """Return the article's specifications in the order of its tables."""
    return sorted((library_folder() / "article").glob("*.yaml"))


def load_spec(source: str | Path | bytes, name: str = "specification") -> Spec:
    """Load and check a specification.

    Parameters
    ----------
    source
        Path of a YAML file, or the YAML itself as bytes.
    name
        Name for messages when ``source`` is bytes.

    Returns
    -------
    Spec

    Raises
    ------
    SpecError
        One line with file, line and key path, what was expected, what came, the nearest name.
    """
    file = parse_yaml(source, name) if isinstance(source, bytes) else read_yaml(source)
    parsed = _validate(file)
    seen: dict[str, int] = {}
    models = []
    for k, entry in enumerate(parsed.models):
        if entry.key in seen:
            raise SpecError(file.place(("models", k, "key")), "a key of its own for each model", repr(entry.key))
        seen[entry.key] = k
        models.append(_model(file, k, entry, parsed.defaults or ModelDefaults()))
    layout = parsed.layout
    spec = Spec(
        table=parsed.table,
        title=parsed.title,
        description=parsed.description or "",
        data=parsed.data or "auto",
        models=tuple(models),
        labels=MappingProxyType(dict(parsed.labels or {})),
        order=_order(file, models, (layout.order if layout else None) or []),
        stats=tuple((layout.stats if layout else None) or _STATISTICS),
        note=(layout.note if layout else None) or "",
        omit_from_figure=tuple((layout.omit_from_figure if layout else None) or ()),
        path=file.name,
        sha256=hashlib.sha256(file.raw.replace(b"\r\n", b"\n")).hexdigest(),
    )
    _check_labels(file, spec)
    return spec


def _validate(file: YamlFile) -> SpecFile:
    if not isinstance(file.content, dict):
        raise SpecError(
            file.name, "keys such as table, title, models", "an empty file" if file.content is None else "none"
        )
    try:
        return SpecFile.model_validate(file.content)
    except ValidationError as error:
        raise _spec_error(file, error) from None


def _spec_error(file: YamlFile, error: ValidationError) -> SpecError:
    """Turn the validator's first complaint into one line."""
    details = sorted(error.errors(include_url=False), key=lambda d: d["type"] != "extra_forbidden")
    detail = details[0]
    path = tuple(part for part in detail["loc"] if _in_file(file, part, detail["loc"]))
    got = repr(detail["input"])
    got = got if len(got) <= 60 else got[:57] + "..."
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        parent, key = path[:-1], str(path[-1])
        valid = _fields_at(parent)
        return SpecError(file.place(path), one_of(valid, 40), repr(key), nearest(key, valid))
    if kind == "missing":
        return SpecError(file.place(path[:-1]), f"a key {path[-1]!r}", "none")
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace("'", "")
        valid = [part.strip() for part in expected.replace(" or ", ",").split(",")]
        return SpecError(file.place(path), one_of(valid), got, nearest(str(detail["input"]), valid))
    expected = {
        "string_type": "text",
        "list_type": "a list, e.g. [a, b]",
        "dict_type": "keys with values",
        "model_type": "keys with values",
        "string_pattern_mismatch": "letters, digits, '_' and '-'",
        "too_short": "at least one entry",
        "string_too_short": "a name",
    }.get(kind, str(detail["msg"]).removeprefix("Input should be ").lower())
    hint = (
        'Put text between quotes: "..."'
        if kind == "string_type" and not isinstance(detail["input"], list | dict)
        else ""
    )
    return SpecError(file.place(path), expected, got, hint)


def _in_file(file: YamlFile, part: str | int, loc: tuple[str | int, ...]) -> bool:
    """Leave out the validator's own names (union branches such as 'str' or 'dict[...]')."""
    return isinstance(part, int) or part == loc[-1] or (any(part in path for path in file.lines) and "[" not in part)


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    if not path:
        return list(SpecFile.model_fields)
    if path[0] == "models" and len(path) == 2:
        return list(ModelEntry.model_fields)
    if path == ("defaults",):
        return list(ModelDefaults.model_fields)
    if path[-1] == "errors":
        return list(Errors.model_fields)
    if path == ("layout",):
        return list(Layout.model_fields)
    return []


def _model(file: YamlFile, k: int, entry: ModelEntry, defaults: ModelDefaults) -> ModelSpec:
    def chosen(name: str, fallback: Any) -> Any:
        value = getattr(entry, name)
        value = getattr(defaults, name) if value is None else value
        return fallback if value is None else value

    def place(name: str, *more: str | int) -> tuple[str | int, ...]:
        own = getattr(entry, name, None) is not None or getattr(defaults, name, None) is None
        return ("models", k, name, *more) if own else ("defaults", name, *more)

    failure = chosen("failure", None)
    if failure is None:
        raise SpecError(file.place(("models", k)), "a key 'failure'", "none, neither here nor in defaults")
    covariates = _covariates(file, k, entry, chosen("covariates", None))
    choices = {**(defaults.coding or {}), **(entry.coding or {})}
    sample = tuple(Expression(text, file.place(place("sample", n))) for n, text in enumerate(chosen("sample", [])))
    errors = chosen("errors", Errors())
    model = ModelSpec(
        key=entry.key,
        label=entry.label or entry.key,
        group=entry.group or "",
        failure=failure,
        covariates=tuple(covariates),
        sample=sample,
        coding=MappingProxyType({}),
        choices=MappingProxyType(choices),
        estimator=chosen("estimator", "cox"),
        ties=chosen("ties", "breslow"),
        errors=errors,
        place=file.place(("models", k)),
    )
    return _resolve(file, model, place)


def _covariates(file: YamlFile, k: int, entry: ModelEntry, base: list[str] | None) -> list[str]:
    if base is None:
        raise SpecError(file.place(("models", k)), "a key 'covariates'", "none, neither here nor in defaults")
    result = list(base)
    for name, new in (entry.replace or {}).items():
        if name not in result:
            raise SpecError(
                file.place(("models", k, "replace", name)), one_of(result), repr(name), nearest(name, result)
            )
        result[result.index(name)] = new
    for n, name in enumerate(entry.drop or []):
        if name not in result:
            raise SpecError(file.place(("models", k, "drop", n)), one_of(result), repr(name), nearest(name, result))
        result.remove(name)
    result += entry.add or []
    twice = [name for name in result if result.count(name) > 1]
    if twice:
        raise SpecError(file.place(("models", k)), "each covariate once", repr(twice[0]))
    if not result:
        raise SpecError(file.place(("models", k)), "at least one covariate", "none")
    return result


def _resolve(file: YamlFile, model: ModelSpec, place: Any) -> ModelSpec:
    """Check every name and attach the coding rules."""
    needed = [name for name in model.variables if name not in KEYS and name not in model.choices]
    for name in needed:
        _known(file, name, model, place)
    choices_place = file.place(place("coding")) if model.choices else model.place
    for name in model.choices:
        if name in KEYS:
            raise SpecError(f"{choices_place} > {name}", "a variable that rules code", repr(name))
    rules = resolve_rules(needed, dict(model.choices), choices_place)
    for name in (model.failure, *model.covariates):
        if name in _NOT_COVARIATES:
            raise SpecError(model.place, "a variable, not a key of the panel", repr(name))
    if rules.get(model.failure) is None or rules[model.failure].method != "exits":
        valid = [name for name, rule in resolve_rules(default_variables()).items() if rule.method == "exits"]
        raise SpecError(file.place(place("failure")), one_of(valid), repr(model.failure), nearest(model.failure, valid))
    return ModelSpec(**{**model.__dict__, "coding": MappingProxyType(rules)})


def _known(file: YamlFile, name: str, model: ModelSpec, place: Any) -> None:
    """Refuse a name that no rule codes, at the place where the file gives it."""
    valid = [*KEYS, *default_variables(), *model.choices]
    try:
        resolve_rules([name])
    except SpecError:
        hint = nearest(name, valid)
        raise SpecError(file.place(_where(file, name, model, place)), one_of(valid, 60), repr(name), hint) from None


def _where(file: YamlFile, name: str, model: ModelSpec, place: Any) -> tuple[str | int, ...]:
    if name == model.failure:
        return tuple(place("failure"))
    if name in model.covariates:
        for key in ("add", "replace"):
            path = tuple(place(key))
            given = file.content["models"][path[1]].get(key) if path[0] == "models" else None
            if given and name in (given.values() if isinstance(given, dict) else given):
                return path
        return tuple(place("covariates"))
    for n, expression in enumerate(model.sample):
        if name in expression.names:
            return tuple(place("sample", n))
    return tuple(place("errors", "by"))


def _order(file: YamlFile, models: list[ModelSpec], wanted: list[str]) -> tuple[str, ...]:
    present = list(dict.fromkeys(name for model in models for name in model.covariates))
    for n, name in enumerate(wanted):
        if name not in present:
            raise SpecError(file.place(("layout", "order", n)), one_of(present, 40), repr(name), nearest(name, present))
    return (*wanted, *(name for name in present if name not in wanted))


def _check_labels(file: YamlFile, spec: Spec) -> None:
    for name in spec.labels:
        if name not in spec.order:
            raise SpecError(file.place(("labels", name)), one_of(spec.order, 40), repr(name), nearest(name, spec.order))
    for n, name in enumerate(spec.omit_from_figure):
        if name not in spec.order:
            place = file.place(("layout", "omit_from_figure", n))
            raise SpecError(place, one_of(spec.order, 40), repr(name), nearest(name, spec.order))


STATISTICS: tuple[str, ...] = get_args(Statistic)
