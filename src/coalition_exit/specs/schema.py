"""The format of a specification file: a table of models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty
from coalition_exit.specs.strict import Strict

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
Expected = Literal["negative", "positive", "either"]
Statistic = Literal["n_obs", "n_subject", "n_event", "n_cluster", "loglik"]


class Errors(Strict):
    """How standard errors are computed."""

    type: Literal["cluster", "model"] = Field("cluster", description="cluster = sandwich; model = inverse information")
    by: Name = Field("coalid", description="Column that names the cluster")
    correction: Literal["stata", "none"] = Field("stata", description="stata = G/(G-1); none = R's convention")


Estimator = Literal["cox", "fine_gray", "logit", "cloglog", "probit"]
Ties = Literal["breslow", "efron", "exact"]
Period = Literal["day", "week", "month", "year"]
Duration = Literal["constant", "linear", "log", "cubic", "ns", "rcs", "dummies"]


class Discrete(Strict):
    """How a discrete-time hazard model (estimator logit, cloglog or probit with a failure) is built."""

    period: Period | Annotated[float, Field(gt=0)] = Field(
        "month", description="Length of a period: by name where time is in days, else a number of the data's units"
    )
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
        None,
        description="cox (the default), fine_gray (competing exits); with a failure, logit, cloglog and probit are "
        "discrete-time hazards",
    )
    cause: Annotated[int, Field(ge=1, le=99)] | None = Field(
        None,
        description="Kind of exit that is modelled, where the failure tells kinds apart (exit_cause); 1 by default",
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


RULES = "Coding rules of this file: name -> based_on, what changes (where, only_if, parameters), label, rationale"


class OwnData(Strict):
    """A data file of one's own: one row an episode (start, stop], or one row a subject."""

    file: Text = Field(description="Path of a .csv, .dta or .parquet file, from the folder of this specification")
    id: Name | None = Field(None, description="Column that names the subject; needed with several rows a subject")
    start: Name | None = Field(None, description="Column with the beginning of the episode")
    stop: Name | None = Field(None, description="Column with the end of the episode")
    time: Name | None = Field(None, description="Column with the duration, in place of start and stop")
    note: Text | None = Field(None, description="What the data are, for the tables' notes")


class Objection(Strict):
    """An objection that the file answers: the other models are held against one, and each gets a verdict."""

    who: Label = Field(description="Whose objection it is")
    claim: Text = Field(description="What it says, in a sentence")
    changes: Text = Field(description="What is coded otherwise, in a sentence")
    reference: Key = Field(description="Key of the model that the others are held against")
    focus: dict[Name, Expected] = Field(
        min_length=1, description="Covariates in question -> the sign expected: negative, positive or either"
    )
    limits: Text | None = Field(None, description="What about it these data cannot answer")


class SpecFile(Strict):
    """A specification: one table of models, its labels and its layout."""

    table: Table = Field(description="Name of the table; output files bear it")
    title: Text = Field(description="Title of the table")
    description: Text | None = Field(None, description="What the table is for")
    section: Label | None = Field(None, description="Section of the report; exhibits without one come first")
    data: Literal["auto", "record", "archive"] | OwnData | None = Field(
        None, description="Data source; auto (the default) takes the author's file when it is at hand, else the record"
    )
    defaults: ModelDefaults | None = Field(None, description="What holds for every model")
    models: list[ModelEntry] = Field(min_length=1, description="The models, one a column")
    labels: dict[Name, Label] | None = Field(None, description="Names of variables in tables and figures")
    layout: Layout | None = Field(None, description="Order of rows, statistics, note")
    rules: dict[Coded, dict[str, Any]] | None = Field(None, description=RULES)
    choices: dict[str, Any] | None = Field(None, description="Decisions and options: a multiverse of the first model")
    objection: Objection | None = Field(None, description="The objection that the models answer, for a verdict")
    compensation: Compensation | None = Field(None, description="What if side payments kept some exits from happening")
    uncertainty: Uncertainty | None = Field(None, description="What if contested facts were drawn, not taken as coded")
    influence: Influence | None = Field(None, description="Which coalitions, wars and single exits carry a finding")
