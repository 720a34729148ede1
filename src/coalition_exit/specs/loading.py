"""From a YAML file to validated, fully spelled-out model specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from coalition_exit.coding.rules import RuleBook, load_rules
from coalition_exit.coding.user_rules import load_user_rules
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.blocks import check_blocks
from coalition_exit.specs.complaints import spec_error
from coalition_exit.specs.models import CONSTANT, ModelReader, ModelSpec, choices_of, places_of
from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty
from coalition_exit.specs.schema import Layout, ModelDefaults, ModelEntry, Objection, OwnData, SpecFile
from coalition_exit.specs.vocabulary import CodedVariables, FileColumns, Vocabulary, own_file
from coalition_exit.specs.yaml_file import Path_, YamlFile, parse_yaml, read_yaml

# What the foot of a table shows unless the layout says otherwise.
_STATISTICS: tuple[str, ...] = ("n_obs", "n_subject", "n_event", "n_cluster")
# The article's exhibits in the order of its pages; what else stands in the folder comes after them.
_ARTICLE = (
    "table1", "table2", "appendix1", "appendix1a", "appendix2", "appendix4", "crosstab1", "crosstab2",
    "figure1", "figure2", "figure3", "figure4", "figure5", "figure_appendix",
    "table1_monthly", "table1_daily", "table2_monthly", "table2_daily",
)  # fmt: skip


_TERM_LABELS = {CONSTANT: "Constant", "t": "Duration", "t2": "Duration squared", "t3": "Duration cubed"}


@dataclass(frozen=True)
class TableData:
    """The data file that a specification names.

    Attributes
    ----------
    path
        Where it is.
    id, start, stop, time
        Columns; "" where there is none.
    note
        What the data are.
    """

    path: Path
    id: str
    start: str
    stop: str
    time: str
    note: str

    @property
    def timing(self) -> tuple[str, ...]:
        """Columns that name or date rows."""
        return tuple(name for name in (self.id, self.start, self.stop, self.time) if name)


@dataclass(frozen=True)
class Spec:
    """A table of models, ready to run."""

    table: str
    title: str
    description: str
    data: str | TableData
    models: tuple[ModelSpec, ...]
    labels: Mapping[str, str]
    order: tuple[str, ...]
    stats: tuple[str, ...]
    note: str
    omit_from_figure: tuple[str, ...]
    diagnostics: bool
    path: str
    sha256: str
    has_choices: bool = False
    options_recode: bool = False
    objection: Objection | None = None
    compensation: Compensation | None = None
    uncertainty: Uncertainty | None = None
    influence: Influence | None = None
    section: str = ""

    def label_of(self, term: str) -> str:
        """Return the label of a term: the file's, else its rule's, else its name."""
        if term in self.labels:
            return self.labels[term]
        for model in self.models:
            if term in model.coding:
                return model.coding[term].label
        return _TERM_LABELS.get(term, term)


def library_folder() -> Path:
    """Return the folder of the specifications that ship with the package."""
    installed = Path(str(resources.files("coalition_exit"))) / "library"
    if installed.is_dir():
        return installed
    # In a source tree they stand at the top of the repository.
    return Path(__file__).resolve().parents[3] / "specs"


def article_specs() -> list[Path]:
    """Return the article's specifications in the order of its tables."""
    rank = {name: k for k, name in enumerate(_ARTICLE)}
    return sorted(
        (library_folder() / "article").glob("*.yaml"), key=lambda path: (rank.get(path.stem, len(rank)), path.stem)
    )


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
    data = read_data_key(file, parsed.data, Path() if isinstance(source, bytes) else Path(source).parent)
    models = _models(file, parsed, data)
    present = list(dict.fromkeys(name for model in models for name in model.terms if name != CONSTANT))
    present += [CONSTANT] * any(model.has_constant for model in models)
    order = layout.order or []
    _check_names(file, ("layout", "order"), order, present)
    _check_names(file, ("layout", "omit_from_figure"), layout.omit_from_figure or [], present)
    _check_names(file, ("labels",), list(parsed.labels or {}), present)
    _check_once(file, ("layout", "stats"), layout.stats or [])
    check_blocks(file, parsed, models, isinstance(data, TableData))
    return Spec(
        table=parsed.table,
        title=parsed.title,
        description=parsed.description or "",
        data=data,
        models=models,
        labels=MappingProxyType(dict(parsed.labels or {})),
        order=(*order, *(name for name in present if name not in order)),
        stats=tuple(layout.stats or _STATISTICS),
        note=layout.note or "",
        omit_from_figure=tuple(layout.omit_from_figure or ()),
        diagnostics=layout.diagnostics,
        path=file.name,
        sha256=file.sha256,
        has_choices=parsed.choices is not None,
        options_recode=_options_recode(parsed.choices),
        objection=parsed.objection,
        compensation=parsed.compensation,
        uncertainty=parsed.uncertainty,
        influence=parsed.influence,
        section=parsed.section or "",
    )


def _options_recode(choices: Mapping[str, object] | None) -> bool:
    """Tell whether options of a multiverse code anything otherwise; its block is checked elsewhere."""
    decisions = (choices or {}).get("decisions")
    entries = list(decisions.values()) if isinstance(decisions, dict) else []
    entries = [entry for entry in entries if isinstance(entry, dict)]
    options = [option for entry in entries if isinstance(entry.get("options"), dict)
               for option in entry["options"].values()]  # fmt: skip
    return any("sweep" in entry for entry in entries) or any(
        isinstance(option, dict) and "coding" in option for option in options
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


def read_data_key(file: YamlFile, own: str | OwnData | None, folder: Path) -> str | TableData:
    """Return the data source that a file names under ``data``; a data file is looked at."""
    if not isinstance(own, OwnData):
        return own or "auto"
    if (own.time is None) == (own.start is None or own.stop is None):
        raise SpecError(file.place(("data",)), "either 'start' and 'stop', or 'time'", _given(own))
    data = TableData(folder / own.file, own.id or "", own.start or "", own.stop or "", own.time or "", own.note or "")
    columns = [str(name) for name in own_file(data.path, file.place(("data", "file"))).frame.columns]
    for key in ("id", "start", "stop", "time"):
        name = getattr(data, key)
        if name and name not in columns:
            raise SpecError(file.place(("data", key)), one_of(columns, 40), shown(name), nearest(name, columns))
    return data


def _given(own: OwnData) -> str:
    given = [repr(key) for key in ("start", "stop", "time") if getattr(own, key) is not None]
    return " and ".join(given) or "neither"


def vocabulary_of(
    file: YamlFile, at: Path_, entry: ModelEntry, defaults: ModelDefaults, data: str | TableData
) -> Vocabulary:
    """Return what the names of a model may be, with the data it is for and the rules of its file."""
    choices, places = choices_of(entry, defaults), places_of(file, at, entry, defaults)
    if isinstance(data, TableData):
        return FileColumns(own_file(data.path, file.place(("data", "file"))), data.timing, choices, places)
    return CodedVariables(choices, places, book_of(file))


_books: dict[tuple[str, str], RuleBook] = {}


def book_of(file: YamlFile) -> RuleBook:
    """Return the coding rules that a file can use: those that ship and its own, under ``rules``.

    Raises
    ------
    SpecError
        On a rule of its own that is none.
    """
    own = file.content.get("rules") if isinstance(file.content, dict) else None
    if not isinstance(own, dict) or not own:
        return load_rules()
    key = (file.name, file.sha256)
    if key not in _books:
        _books.clear()
        _books[key] = load_rules().with_rules(load_user_rules(own, lambda *path: file.place(("rules", *path))))
    return _books[key]


def _models(file: YamlFile, parsed: SpecFile, data: str | TableData) -> tuple[ModelSpec, ...]:
    defaults = parsed.defaults or ModelDefaults()
    seen: dict[str, int] = {}
    for k, entry in enumerate(parsed.models):
        if entry.key in seen:
            other = f"the key {shown(entry.key)} of models[{seen[entry.key] + 1}]"
            raise SpecError(file.place(("models", k, "key")), "a key of its own for each model", other)
        seen[entry.key] = k
    models = [
        ModelReader(
            file, ("models", k), entry, defaults, vocabulary_of(file, ("models", k), entry, defaults, data)
        ).read()
        for k, entry in enumerate(parsed.models)
    ]
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
