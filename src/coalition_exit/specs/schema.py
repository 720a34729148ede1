"""The format of a specification file; the JSON Schema that ships is made from these classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from coalition_exit.coding.rules import load_rules

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Control characters would garble a terminal, and no table can hold them.
TEXT_PATTERN = r"^[^\x00-\x08\x0B-\x1F\x7F-\x9F]*$"
# Names that Windows keeps for devices, whatever their ending.
RESERVED = ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))


def _not_reserved(name: str) -> str:
    if name.lower() in RESERVED:
        raise PydanticCustomError("reserved", "a name that Windows does not keep for itself")
    return name


def _one_line(text: str) -> str:
    return " ".join(text.split())


Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN, max_length=80)]
Table = Annotated[Key, AfterValidator(_not_reserved)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Coded = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=80)]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=TEXT_PATTERN),
    AfterValidator(_one_line),
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=TEXT_PATTERN),
    AfterValidator(_one_line),
]
Filter = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Parameter = bool | int | float | str
RuleChoice = str | dict[str, Parameter]
Statistic = Literal["n_obs", "n_subject", "n_event", "n_cluster", "loglik"]


class Strict(BaseModel):
    """Keys that a file may use: no others, no conversions, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Strict = Strict


class Errors(Strict):
    """How standard errors are computed."""

    type: Literal["cluster", "model"] = Field("cluster", description="cluster = sandwich; model = inverse information")
    by: Name = Field("coalid", description="Column that names the cluster")
    correction: Literal["stata", "none"] = Field("stata", description="stata = G/(G-1); none = R's convention")


Estimator = Literal["cox", "logit", "cloglog", "probit"]
Ties = Literal["breslow", "efron", "exact"]
Period = Literal["day", "week", "month", "year"]
Duration = Literal["constant", "linear", "log", "cubic", "ns", "rcs", "dummies"]


class Discrete(Strict):
    """How a discrete-time hazard model (estimator logit, cloglog or probit with a failure) is built."""

    period: Period = Field("month", description="Length of a period")
    baseline: Duration = Field("cubic", description="Duration dependence; cubic = t, t2, t3")
    df: int | None = Field(None, ge=1, le=20, description="Degrees of freedom of ns and rcs")
    divisor: float = Field(100.0, gt=0, description="cubic uses t / divisor")
    covariates: Literal["start", "end", "mean"] = Field("start", description="Values taken in each period")


class ModelDefaults(Strict):
    """What holds for every model of the file unless the model says otherwise."""

    failure: Name | None = Field(
        None, description="Outcome of a hazard model, 1 on the day of the event: withdraw, volunt"
    )
    outcome: Name | None = Field(
        None, description="Outcome (0 or 1) of a probit, logit or cloglog of rows, not of a hazard"
    )
    censor: list[Filter] | None = Field(
        None, description="Comparisons; where any of them holds the event does not count (the failure is set to 0)"
    )
    covariates: list[Name] | None = Field(None, description="Variables on the right-hand side, in order")
    sample: list[Filter] | None = Field(
        None,
        description="Comparisons that keep a row, all of which must hold, e.g. warnum not in [106, 139]; "
        "a model's own list takes the place of the default one",
    )
    coding: dict[Coded, RuleChoice] | None = Field(
        None, description="Coding rules that depart from the article's: variable -> rule name or parameters"
    )
    estimator: Estimator | None = Field(
        None, description="cox (the default); with a failure, logit, cloglog and probit are discrete-time hazards"
    )
    ties: Ties | None = Field(None, description="Tied events in a Cox model; breslow (Stata's) by default")
    strata: list[Name] | None = Field(None, description="Variables that divide a Cox model into strata")
    discrete: Discrete | None = Field(None, description="Periods and duration dependence in discrete time")
    errors: Errors | None = Field(None, description="Standard errors; by default clustered on coalid, as Stata does")


class ModelEntry(ModelDefaults):
    """One model, a column of the table."""

    key: Key = Field(description="Short name used in the output files")
    label: Label | None = Field(None, description="Column head; the key by default")
    group: Label | None = Field(None, description="Head that spans neighbouring columns of the same group")
    add: list[Name] | None = Field(None, description="Variables added to the default covariates")
    drop: list[Name] | None = Field(None, description="Variables left out of the default covariates")
    replace: dict[Name, Name] | None = Field(None, description="Default covariate -> variable in its place")


class Layout(Strict):
    """How the table and the figure look."""

    order: list[Name] | None = Field(None, description="Order of the rows; by default that of first appearance")
    stats: list[Statistic] | None = Field(None, description="Statistics in the foot of the table")
    note: Text | None = Field(None, description="A sentence added to the note")
    omit_from_figure: list[Name] | None = Field(None, description="Terms left out of the coefficient plot")
    diagnostics: bool = Field(True, description="Whether a table of diagnostics is made for the Cox models")


class OwnData(Strict):
    """A data file of one's own: one row an episode (start, stop], or one row a subject."""

    file: Text = Field(description="Path of a .csv, .dta or .parquet file, from the folder of this specification")
    id: Name | None = Field(None, description="Column that names the subject; needed with several rows a subject")
    start: Name | None = Field(None, description="Column with the beginning of the episode")
    stop: Name | None = Field(None, description="Column with the end of the episode")
    time: Name | None = Field(None, description="Column with the duration, in place of start and stop")
    note: Text | None = Field(None, description="What the data are, for the tables' notes")


class SpecFile(Strict):
    """A specification: one table of models, its labels and its layout."""

    table: Table = Field(description="Name of the table; output files bear it")
    title: Text = Field(description="Title of the table")
    description: Text | None = Field(None, description="What the table is for")
    data: Literal["auto", "record", "archive"] | OwnData | None = Field(
        None, description="Data source; auto (the default) takes the author's file when it is at hand, else the record"
    )
    defaults: ModelDefaults | None = Field(None, description="What holds for every model")
    models: list[ModelEntry] = Field(min_length=1, description="The models, one a column")
    labels: dict[Name, Label] | None = Field(None, description="Names of variables in tables and figures")
    layout: Layout | None = Field(None, description="Order of rows, statistics, note")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification file, for editors.

    Variables and rules that ship are offered by name; others are allowed, since the trends' windows
    and a file's own variables are too many to list. `load_spec` checks them all.
    """
    schema = _without_noise(SpecFile.model_json_schema())
    book = load_rules()
    name = {"type": "string", "minLength": 1, "maxLength": 80}
    variable = {"anyOf": [{"enum": book.describe_variables()}, name]}
    choice = _offer_rules(schema, list(book.rules), book.describe_variables())
    for part in ("ModelDefaults", "ModelEntry"):
        fields = schema["$defs"][part]["properties"]
        for outcome in ("failure", "outcome"):
            fields[outcome]["anyOf"][0] = {"$ref": "#/$defs/Variable"}
        for list_of_names in {"covariates", "add", "drop", "strata"} & fields.keys():
            fields[list_of_names]["anyOf"][0]["items"] = {"$ref": "#/$defs/Variable"}
    definitions = schema.pop("$defs") | {"RuleChoice": choice, "Variable": variable}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "coalition-exit specification",
        "description": schema.pop("description"),
        "type": schema.pop("type"),
    }
    return {**head, **schema, "$defs": dict(sorted(definitions.items()))}


def _offer_rules(schema: dict[str, Any], rules: list[str], variables: list[str]) -> dict[str, Any]:
    """Name rules and variables in the schema of ``coding``; return the schema of one choice."""
    choice: dict[str, Any] = {}
    for part in ("ModelDefaults", "ModelEntry"):
        coding = schema["$defs"][part]["properties"]["coding"]["anyOf"][0]
        choice = coding["patternProperties"][NAME_PATTERN]
        reference = {"$ref": "#/$defs/RuleChoice"}
        coding["properties"] = dict.fromkeys(variables, reference)
        coding["patternProperties"] = {NAME_PATTERN: reference}
        coding["additionalProperties"] = False
    choice["anyOf"][0] = {"enum": rules}
    choice["anyOf"][1]["properties"] = {"rule": {"enum": rules}}
    return choice


def _without_noise(node: Any, are_names: bool = False) -> Any:
    """Leave out titles that repeat the names of fields, and defaults that say nothing."""
    if isinstance(node, list):
        return [_without_noise(item) for item in node]
    if not isinstance(node, dict):
        return node
    noise = set() if are_names else {key for key in node if key == "title" or (key == "default" and node[key] is None)}
    return {key: _without_noise(node[key], key in ("properties", "$defs")) for key in node if key not in noise}


def schema_path() -> Path:
    """Return where the JSON Schema stands that ships with the package."""
    return Path(__file__).with_name("schema.json")


def schema_text() -> str:
    """Return the text of that file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema() -> None:
    """Write that file anew, after a change of the format or of the rules."""
    schema_path().write_text(schema_text(), encoding="utf-8", newline="\n")
