"""Figures and cross-tabulations as specifications."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, create_model

from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.complaints import spec_error
from coalition_exit.specs.loading import Spec, TableData, load_spec, read_data_key, vocabulary_of
from coalition_exit.specs.models import ModelReader, ModelSpec
from coalition_exit.specs.schema import (
    RULES,
    Filter,
    Label,
    ModelDefaults,
    ModelEntry,
    Name,
    OwnData,
    Table,
    Text,
)  # fmt: skip
from coalition_exit.specs.strict import Strict
from coalition_exit.specs.vocabulary import Vocabulary
from coalition_exit.specs.yaml_file import YamlFile, read_yaml

Source = Literal["auto", "record", "archive"] | OwnData | None
Value = float | Literal["mean", "median"]
Date = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Panel(Strict):
    """One panel of a history: the same days for every line in it."""

    title: Label = Field(description="Head of the panel")
    sample: list[Filter] = Field(description="Comparisons that keep a row, e.g. warnum == 106")
    begin: Date | None = Field(None, description="First day shown, YYYY-MM-DD")
    end: Date | None = Field(None, description="Last day shown")


class History(Strict):
    """Lines over calendar time: variables of some states."""

    kind: Literal["history"] = Field(description="Lines over calendar time")
    panels: list[Panel] = Field(min_length=1, description="Panels from left to right")
    variables: list[Name] = Field(min_length=1, description="Variables shown as lines")
    states: dict[Label, int] = Field(min_length=1, description="Name in the legend -> COW state code")
    every: Literal["day", "month"] = Field("day", description="Every day, or the first of each month")
    coding: dict[str, Any] | None = Field(None, description="Coding rules that depart from the article's")
    y_label: Label | None = Field(None, description="Label of the vertical axis")


class Scenario(Strict):
    """Covariate values that a curve is predicted for."""

    label: Label = Field(description="Name in the legend")
    at: dict[Name, Value] = Field(description="Covariate -> value, or mean or median of the rows used")


class Survival(Strict):
    """Predicted survival of scenarios."""

    kind: Literal["survival"] = Field(description="Predicted survival")
    model: ModelDefaults = Field(description="The model, as in a table")
    scenarios: list[Scenario] = Field(min_length=1, description="Curves")
    horizon: float = Field(gt=0, description="Last day shown")
    unit: Literal["day", "month", "year"] = Field("month", description="Unit of the time axis; a month is 30.4375 days")
    intervals: bool = Field(True, description="Whether 95% intervals are drawn")


class Margins(Strict):
    """Relative hazard with one covariate at given values, averaged over the rows (Stata's margins)."""

    kind: Literal["margins"] = Field(description="Relative hazard over a covariate's values")
    model: ModelDefaults = Field(description="The model, as in a table")
    continuous: list[Name] = Field(default_factory=list, description="Covariates set to their percentiles")
    binary: list[Name] = Field(default_factory=list, description="Covariates set to 0 and 1")
    percentiles: list[int] = Field(default=[1, 99], min_length=2, max_length=2, description="First and last percentile")
    layout: Literal["together", "panels"] = Field("together", description="One panel for all, or one a covariate")
    intervals: bool = Field(False, description="Whether 95% intervals are drawn")


class Windows(Strict):
    """The estimate of a trend for each length of its window."""

    kind: Literal["windows"] = Field(description="An estimate by length of window")
    model: ModelDefaults = Field(description="The model with the main window")
    vary: Name = Field(description="Covariate whose window is varied, e.g. ctrend60")
    begin: int = Field(15, ge=1, le=1000, description="Shortest window, in days")
    end: int = Field(120, ge=1, le=1000, description="Longest window")
    step: int = Field(1, ge=1, le=1000, description="From one window to the next")


FigureKind = Annotated[History | Survival | Margins | Windows, Field(discriminator="kind")]
KINDS: dict[str, type[Strict]] = {"history": History, "survival": Survival, "margins": Margins, "windows": Windows}


class FigureFile(Strict):
    """A figure."""

    figure: Table = Field(description="Name of the figure; output files bear it")
    title: Text = Field(description="Title")
    description: Text | None = Field(None, description="What it is for; in the report, for readers who cannot see it")
    section: Label | None = Field(None, description="Section of the report; exhibits without one come first")
    data: Source = Field(None, description="Data source; auto by default, as in a table")
    plot: FigureKind = Field(description="What is shown")
    labels: dict[Name, Label] | None = Field(None, description="Names of variables in the figure")
    rules: dict[Name, dict[str, Any]] | None = Field(None, description=RULES)
    note: Text | None = Field(None, description="A sentence added to the note")


class Margin(Strict):
    """One side of a cross-tabulation: rows for which something holds, and the others."""

    where: Filter | None = Field(None, description="A comparison, e.g. foverlap == 1")
    variable: Name | None = Field(None, description="A variable, with above_percentile")
    above_percentile: float | None = Field(None, gt=0, lt=100, description="Percentile that divides the rows")
    yes: Label = Field(description="Head of the rows for which it holds")
    no: Label = Field(description="Head of the others")


class CrosstabFile(Strict):
    """A cross-tabulation of two conditions."""

    crosstab: Table = Field(description="Name of the table; output files bear it")
    title: Text = Field(description="Title")
    description: Text | None = Field(None, description="What it is for; in the report, for readers who cannot see it")
    section: Label | None = Field(None, description="Section of the report; exhibits without one come first")
    data: Source = Field(None, description="Data source; auto by default, as in a table")
    sample: list[Filter] | None = Field(None, description="Comparisons that keep a row, all of which must hold")
    rows: Margin = Field(description="What divides the rows of the table")
    columns: Margin = Field(description="What divides its columns")
    coding: dict[str, Any] | None = Field(None, description="Coding rules that depart from the article's")
    rules: dict[Name, dict[str, Any]] | None = Field(None, description=RULES)
    note: Text | None = Field(None, description="A sentence added to the note")


@dataclass(frozen=True)
class Figure:
    """A figure, ready to be computed.

    Attributes
    ----------
    plot
        One of `History`, `Survival`, `Margins`, `Windows`.
    model
        Its model; None for a history.
    filters
        The panels' comparisons (of a history).
    variables
        Every column it needs.
    """

    table: str
    title: str
    description: str
    data: str | TableData
    plot: History | Survival | Margins | Windows
    model: ModelSpec | None
    filters: tuple[tuple[Expression, ...], ...]
    variables: tuple[str, ...]
    choices: Mapping[str, Any]
    labels: Mapping[str, str]
    note: str
    path: str
    sha256: str
    section: str = ""

    def label_of(self, name: str) -> str:
        """Return the label of a variable: the file's, else its rule's, else its name."""
        if name in self.labels:
            return self.labels[name]
        coded = self.model.coding if self.model is not None else {}
        return coded[name].label if name in coded else name


@dataclass(frozen=True)
class Crosstab:
    """A cross-tabulation, ready to be computed."""

    table: str
    title: str
    description: str
    data: str | TableData
    sample: tuple[Expression, ...]
    rows: Margin
    columns: Margin
    conditions: tuple[Expression | None, Expression | None]
    variables: tuple[str, ...]
    choices: Mapping[str, Any]
    note: str
    path: str
    sha256: str
    section: str = ""


Exhibit = Spec | Figure | Crosstab


def load_exhibit(path: str | Path) -> Exhibit:
    """Load a specification of any kind: a table of models, a figure, a cross-tabulation.

    Raises
    ------
    SpecError
        One line with file, line and key path, what was expected, what came, the nearest name.
    """
    file = read_yaml(path)
    keys = file.content if isinstance(file.content, dict) else {}
    if "figure" in keys and "table" not in keys:
        return _load_figure(file, Path(path).parent)
    if "crosstab" in keys and "table" not in keys:
        return _load_crosstab(file, Path(path).parent)
    return load_spec(path)


def _load_figure(file: YamlFile, folder: Path) -> Figure:
    try:
        parsed = FigureFile.model_validate(file.content)
    except ValidationError as error:
        raise _figure_error(file, error) from None
    data = read_data_key(file, parsed.data, folder)
    plot = parsed.plot
    model: ModelSpec | None = None
    filters: tuple[tuple[Expression, ...], ...] = ()
    if isinstance(plot, History):
        entry = ModelEntry(key=parsed.figure, coding=plot.coding or {})
        names = vocabulary_of(file, ("plot",), entry, ModelDefaults(), data)
        filters, variables = _read_history(file, plot, names)
        choices = dict(plot.coding or {})
        names.rules(choices)
    else:
        entry = ModelEntry(key=parsed.figure, **plot.model.model_dump(exclude_unset=True))
        names = vocabulary_of(file, ("plot", "model"), entry, ModelDefaults(), data)
        model = ModelReader(file, ("plot", "model"), entry, ModelDefaults(), names).read()
        if not model.is_cox:
            raise SpecError(file.place(("plot", "model")), "a Cox model", shown(model.estimator))
        _check_plot(file, plot, model, names)
        variables, choices = model.variables, dict(model.choices)
    return Figure(
        table=parsed.figure, title=parsed.title, description=parsed.description or "", data=data, plot=plot,
        model=model, filters=filters, variables=tuple(variables), choices=choices, labels=dict(parsed.labels or {}),
        note=parsed.note or "", path=file.name, sha256=file.sha256, section=parsed.section or "",
    )  # fmt: skip


def _figure_error(file: YamlFile, error: ValidationError) -> SpecError:
    plot = file.content.get("plot") if isinstance(file.content, dict) else None
    kind = plot.get("kind") if isinstance(plot, dict) else None
    if isinstance(plot, dict) and kind not in KINDS:
        got = "none" if kind is None else shown(kind)
        return SpecError(file.place(("plot", "kind")), one_of(KINDS), got, nearest(str(kind), KINDS))
    # The class of this kind alone says which keys may stand under plot.
    root = create_model("FigureFile", __base__=FigureFile, plot=(KINDS[kind], ...)) if kind in KINDS else FigureFile
    return spec_error(file, error, root)


def _read_history(
    file: YamlFile, plot: History, names: Vocabulary
) -> tuple[tuple[tuple[Expression, ...], ...], list[str]]:
    for n, name in enumerate(plot.variables):
        names.check(name, file.place(("plot", "variables", n)))
    filters = []
    for k, panel in enumerate(plot.panels):
        filters.append(_filters(file, ("plot", "panels", k, "sample"), panel.sample, names))
        for key in ("begin", "end"):
            text = getattr(panel, key)
            try:
                dt.date.fromisoformat(text or "2000-01-01")
            except ValueError:
                place = file.place(("plot", "panels", k, key))
                raise SpecError(place, "a day YYYY-MM-DD", shown(text)) from None
    tested = [name for panel in filters for expression in panel for name in expression.names]
    return tuple(filters), list(dict.fromkeys([*plot.variables, *tested]))


def _filters(file: YamlFile, at: tuple[str | int, ...], texts: list[str], names: Vocabulary) -> tuple[Expression, ...]:
    return tuple(_condition(file, (*at, n), text, names) for n, text in enumerate(texts))


def _condition(file: YamlFile, at: tuple[str | int, ...], text: str, names: Vocabulary) -> Expression:
    place = file.place(at)
    expression = Expression(text, place)
    for name in expression.names:
        names.check(name, place)
    expression.check_columns(names.kinds(expression.names))
    return expression


def _check_plot(file: YamlFile, plot: Survival | Margins | Windows, model: ModelSpec, names: Vocabulary) -> None:
    covariates = model.covariates
    if isinstance(plot, Survival):
        for k, scenario in enumerate(plot.scenarios):
            for name in scenario.at:
                _among(file, ("plot", "scenarios", k, "at", name), name, covariates)
            for name in covariates:
                if name not in scenario.at:
                    raise SpecError(file.place(("plot", "scenarios", k, "at")), f"a value for {name}", "none")
    elif isinstance(plot, Margins):
        for key in ("continuous", "binary"):
            for n, name in enumerate(getattr(plot, key)):
                _among(file, ("plot", key, n), name, covariates)
        first, last = plot.percentiles
        if not 1 <= first <= last <= 99:
            raise SpecError(file.place(("plot", "percentiles")), "two numbers from 1 to 99", f"[{first}, {last}]")
    else:
        _among(file, ("plot", "vary"), plot.vary, covariates)
        if plot.begin > plot.end:
            raise SpecError(file.place(("plot", "end")), f"at least {plot.begin}", str(plot.end))
        place = file.place(("plot", "vary"))
        if not isinstance(names.rules([plot.vary])[plot.vary].parameters.get("window"), int):
            raise SpecError(place, "a covariate with a window in days", shown(plot.vary))


def _among(file: YamlFile, at: tuple[str | int, ...], name: str, covariates: tuple[str, ...]) -> None:
    if name not in covariates:
        raise SpecError(file.place(at), one_of(covariates), shown(name), nearest(name, covariates))


def _load_crosstab(file: YamlFile, folder: Path) -> Crosstab:
    try:
        parsed = CrosstabFile.model_validate(file.content)
    except ValidationError as error:
        raise spec_error(file, error, CrosstabFile) from None
    data = read_data_key(file, parsed.data, folder)
    names = vocabulary_of(file, (), ModelEntry(key=parsed.crosstab, coding=parsed.coding or {}), ModelDefaults(), data)
    sample = _filters(file, ("sample",), parsed.sample or [], names)
    conditions = tuple(_side(file, key, getattr(parsed, key), names) for key in ("rows", "columns"))
    tested = [name for e in (*sample, *conditions) if e is not None for name in e.names]
    tested += [side.variable for side in (parsed.rows, parsed.columns) if side.variable]
    names.rules(parsed.coding or {})
    return Crosstab(
        table=parsed.crosstab, title=parsed.title, description=parsed.description or "", data=data, sample=sample,
        rows=parsed.rows, columns=parsed.columns, conditions=(conditions[0], conditions[1]),
        variables=tuple(dict.fromkeys(tested)), choices=dict(parsed.coding or {}), note=parsed.note or "",
        path=file.name, sha256=file.sha256, section=parsed.section or "",
    )  # fmt: skip


def _side(file: YamlFile, key: str, side: Margin, names: Vocabulary) -> Expression | None:
    """Return the side's comparison; None where a percentile divides the rows."""
    if (side.where is None) == (side.variable is None) or (side.variable is None) != (side.above_percentile is None):
        raise SpecError(
            file.place((key,)), "either 'where', or 'variable' with 'above_percentile'", "another set of keys"
        )
    if side.variable is not None:
        names.check(side.variable, file.place((key, "variable")))
        return None
    assert side.where is not None
    return _condition(file, (key, "where"), side.where, names)
