"""The format of a specification file; the JSON Schema that ships is made from these classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Parameter = bool | int | float | str
RuleChoice = str | dict[str, Parameter]
Statistic = Literal["n_obs", "n_subject", "n_event", "n_cluster", "loglik"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Errors(_Strict):
    """How standard errors are computed."""

    type: Literal["cluster", "model"] = Field("cluster", description="cluster = sandwich; model = inverse information")
    by: Name = Field("coalid", description="Column that names the cluster")
    correction: Literal["stata", "none"] = Field("stata", description="stata = G/(G-1); none = R's convention")


class ModelDefaults(_Strict):
    """What holds for every model of the file unless the model says otherwise."""

    failure: Name | None = Field(None, description="Outcome, 1 on the day of the event: withdraw, volunt")
    covariates: list[Name] | None = Field(None, description="Variables on the right-hand side, in order")
    sample: list[Text] | None = Field(
        None, description="Comparisons that keep a row, all of which must hold: warnum not in [106, 139]"
    )
    coding: dict[Name, RuleChoice] | None = Field(
        None, description="Coding rules that depart from the article's: variable -> rule name or parameters"
    )
    estimator: Literal["cox"] | None = Field(None, description="Estimator; cox by default")
    ties: Literal["breslow", "efron"] | None = Field(None, description="Tied events; breslow (Stata's) by default")
    errors: Errors | None = Field(None, description="Standard errors; by default clustered on coalid, as Stata does")


class ModelEntry(ModelDefaults):
    """One model, a column of the table."""

    key: Key = Field(description="Short name used in the output files")
    label: Text | None = Field(None, description="Column head; the key by default")
    group: Text | None = Field(None, description="Head that spans neighbouring columns of the same group")
    add: list[Name] | None = Field(None, description="Variables added to the default covariates")
    drop: list[Name] | None = Field(None, description="Variables left out of the default covariates")
    replace: dict[Name, Name] | None = Field(None, description="Default covariate -> variable in its place")


class Layout(_Strict):
    """How the table and the figure look."""

    order: list[Name] | None = Field(None, description="Order of the rows; by default that of first appearance")
    stats: list[Statistic] | None = Field(None, description="Statistics in the foot of the table")
    note: Text | None = Field(None, description="A sentence added to the note")
    omit_from_figure: list[Name] | None = Field(None, description="Terms left out of the coefficient plot")


class SpecFile(_Strict):
    """A specification: one table of models, its labels and its layout."""

    table: Key = Field(description="Name of the table; output files bear it")
    title: Text = Field(description="Title of the table")
    description: Text | None = Field(None, description="What the table is for")
    data: Literal["auto", "record"] | None = Field(None, description="Data source; auto by default")
    defaults: ModelDefaults | None = Field(None, description="What holds for every model")
    models: list[ModelEntry] = Field(min_length=1, description="The models, one a column")
    labels: dict[Name, Text] | None = Field(None, description="Names of variables in tables and figures")
    layout: Layout | None = Field(None, description="Order of rows, statistics, note")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a specification file."""
    schema = SpecFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "coalition-exit specification"} | schema
