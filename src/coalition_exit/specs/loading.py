"""From a YAML file to validated, fully spelled-out model specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.complaints import spec_error
from coalition_exit.specs.models import ModelReader, ModelSpec
from coalition_exit.specs.schema import Layout, ModelDefaults, SpecFile
from coalition_exit.specs.yaml_file import Path_, YamlFile, parse_yaml, read_yaml

# What the foot of a table shows unless the layout says otherwise.
_STATISTICS: tuple[str, ...] = ("n_obs", "n_subject", "n_event", "n_cluster")


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
    layout = parsed.layout or Layout()
    models = _models(file, parsed)
    present = list(dict.fromkeys(name for model in models for name in model.covariates))
    order = layout.order or []
    _check_names(file, ("layout", "order"), order, present)
    _check_names(file, ("layout", "omit_from_figure"), layout.omit_from_figure or [], present)
    _check_names(file, ("labels",), list(parsed.labels or {}), present)
    _check_once(file, ("layout", "stats"), layout.stats or [])
    return Spec(
        table=parsed.table,
        title=parsed.title,
        description=parsed.description or "",
        data=parsed.data or "auto",
        models=models,
        labels=MappingProxyType(dict(parsed.labels or {})),
        order=(*order, *(name for name in present if name not in order)),
        stats=tuple(layout.stats or _STATISTICS),
        note=layout.note or "",
        omit_from_figure=tuple(layout.omit_from_figure or ()),
        path=file.name,
        sha256=file.sha256,
    )


def _validate(file: YamlFile) -> SpecFile:
    if file.content is None:
        raise SpecError(file.name, "keys such as table, title, models", "an empty file")
    if not isinstance(file.content, dict):
        got = "a list" if isinstance(file.content, list) else shown(file.content)
        raise SpecError(file.place(()), "keys such as table, title, models", got)
    try:
        return SpecFile.model_validate(file.content)
    except ValidationError as error:
        raise spec_error(file, error) from None


def _models(file: YamlFile, parsed: SpecFile) -> tuple[ModelSpec, ...]:
    defaults = parsed.defaults or ModelDefaults()
    seen: dict[str, int] = {}
    for k, entry in enumerate(parsed.models):
        if entry.key in seen:
            other = f"the key {shown(entry.key)} of models[{seen[entry.key] + 1}]"
            raise SpecError(file.place(("models", k, "key")), "a key of its own for each model", other)
        seen[entry.key] = k
    models = [ModelReader(file, k, entry, defaults).read() for k, entry in enumerate(parsed.models)]
    _check_coding_is_used(file, parsed, models)
    return tuple(models)


def _check_coding_is_used(file: YamlFile, parsed: SpecFile, models: Sequence[ModelSpec]) -> None:
    """Refuse a choice of coding that changes nothing: it would pass for a test of robustness."""
    for k, entry in enumerate(parsed.models):
        for name in entry.coding or {}:
            if name not in models[k].choices:
                _refuse_unused(file, ("models", k, "coding", name), "this model", models[k : k + 1])
    for name in (parsed.defaults and parsed.defaults.coding) or {}:
        if not any(name in model.choices for model in models):
            _refuse_unused(file, ("defaults", "coding", name), "some model", models)


def _refuse_unused(file: YamlFile, path: Path_, user: str, models: Sequence[ModelSpec]) -> None:
    name = str(path[-1])
    used = list(dict.fromkeys(v for model in models for v in model.variables if v in model.coding))
    raise SpecError(file.place(path), f"a variable that {user} uses", shown(name), nearest(name, used))


def _check_names(file: YamlFile, path: Path_, names: Sequence[str], present: Sequence[str]) -> None:
    """Refuse names that are no covariate of any model, and names given twice."""
    for n, name in enumerate(names):
        if name not in present:
            place = file.place((*path, name if path == ("labels",) else n))
            raise SpecError(place, one_of(present, 40), shown(name), nearest(name, present))
    _check_once(file, path, names)


def _check_once(file: YamlFile, path: Path_, names: Sequence[str]) -> None:
    for n, name in enumerate(names):
        if name in names[:n]:
            raise SpecError(file.place((*path, n)), "each name once", f"{shown(name)} twice")
