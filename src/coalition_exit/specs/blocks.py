"""The blocks of a specification beside its models: every name in them is checked against the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coalition_exit.coding.columns import kinds_of
from coalition_exit.coding.expressions import COMPARISON, NUMBER, Expression, Kind
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.panel.build import KEYS
from coalition_exit.record.codebook import load_codebook
from coalition_exit.specs.models import ModelSpec
from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty
from coalition_exit.specs.schema import Objection, SpecFile
from coalition_exit.specs.yaml_file import Path_, YamlFile

_OF_EXITS = 'a comparison of a column of exits.csv with a value, e.g. partners_wish == "yes"'


def check_blocks(file: YamlFile, parsed: SpecFile, models: Sequence[ModelSpec], own_data: bool) -> None:
    """Check the blocks ``objection``, ``compensation``, ``uncertainty`` and ``influence``.

    Parameters
    ----------
    file
        The parsed file, for places.
    parsed
        Its blocks.
    models
        Its models.
    own_data
        Whether the rows come from a data file of the specification's own.

    Raises
    ------
    SpecError
        On a name that is none of the models', a model that a block cannot use.
    """
    if parsed.objection is not None:
        _objection(file, parsed.objection, models)
    if parsed.compensation is not None:
        _compensation(file, parsed.compensation, _model_of(file, parsed, models, "compensation"), own_data)
    if parsed.uncertainty is not None:
        _uncertainty(file, parsed.uncertainty, models, own_data)
    if parsed.influence is not None:
        _influence(file, parsed.influence, _model_of(file, parsed, models, "influence"), own_data)


def block_model(models: Sequence[ModelSpec], objection: Objection | None, key: str | None) -> ModelSpec | None:
    """Return the model that a block speaks of: the one it names, the objection's reference, the first Cox model."""
    wanted = key or (objection.reference if objection is not None else None)
    if wanted is not None:
        named = next((model for model in models if model.key == wanted), None)
        if key is not None or (named is not None and named.is_cox):
            return named
    return next((model for model in models if model.is_cox), None)


def _objection(file: YamlFile, block: Objection, models: Sequence[ModelSpec]) -> None:
    keys = [model.key for model in models]
    _among(file, ("objection", "reference"), block.reference, keys)
    reference = models[keys.index(block.reference)]
    for name in block.focus:
        _among(file, ("objection", "focus", name), name, reference.covariates)


def _model_of(file: YamlFile, parsed: SpecFile, models: Sequence[ModelSpec], name: str) -> ModelSpec:
    """Return the model of a block; it must be a Cox model."""
    key = getattr(parsed, name).model
    if key is not None:
        _among(file, (name, "model"), key, [model.key for model in models])
    model = block_model(models, parsed.objection, key)
    if model is None or not model.is_cox:
        got = "none" if model is None else f"{shown(model.key)}, a {model.estimator}"
        raise SpecError(file.place((name, "model") if key is not None else (name,)), "a Cox model", got)
    return model


def _compensation(file: YamlFile, block: Compensation, model: ModelSpec, own_data: bool) -> None:
    if model.strata:
        raise SpecError(file.place(("compensation",)), "a model without strata", ", ".join(model.strata))
    _among(file, _given(block, "compensation", "trend"), block.trend, model.covariates)
    if block.simulation is not None or "front" in block.model_fields_set:
        _among(file, _given(block, "compensation", "front"), block.front, model.covariates)
    for name in block.contrasts or {}:
        _among(file, ("compensation", "contrasts", name), name, model.covariates)
        if (block.contrasts or {})[name] == 0:
            raise SpecError(file.place(("compensation", "contrasts", name)), "a number other than 0", "0")
    # Of the record the whole panel of the model is at hand, of another source the model's own columns.
    columns = model.estimation_columns if own_data else [*model.variables, *KEYS]
    for n, pattern in enumerate(block.patterns or []):
        _expression(file, ("compensation", "patterns", n, "where"), pattern.where, dict.fromkeys(columns, NUMBER))


def _given(block: Compensation, name: str, key: str) -> Path_:
    """Return the place of a key, or of its block where the key is left to its default."""
    return (name, key) if key in block.model_fields_set else (name,)


def _uncertainty(file: YamlFile, block: Uncertainty, models: Sequence[ModelSpec], own_data: bool) -> None:
    if own_data:
        expected = "data: record, whose facts are drawn"
        raise SpecError(file.place(("uncertainty",)), expected, "a data file of one's own")
    if not any(model.is_cox for model in models):
        raise SpecError(file.place(("uncertainty",)), "a Cox model among the models", "none")


def _influence(file: YamlFile, block: Influence, model: ModelSpec, own_data: bool) -> None:
    if block.term is not None:
        _among(file, ("influence", "term"), block.term, model.covariates)
    if block.candidates is None:
        return
    path: Path_ = ("influence", "candidates")
    if own_data:
        raise SpecError(file.place(path), "data: record, whose exits are named", "a data file of one's own")
    columns = {column.name for column in load_codebook().tables["exits"].columns}
    kinds = {name: kind for name, kind in kinds_of("exits", "where").items() if name in columns}
    _expression(file, path, block.candidates, kinds, _OF_EXITS)


def _expression(file: YamlFile, path: Path_, text: str, kinds: Mapping[str, Kind], expected: str = COMPARISON) -> None:
    place = file.place(path)
    expression = Expression(text, place, expected)
    for name in expression.names:
        _among(file, path, name, kinds)
    expression.check_columns(kinds)


def _among(file: YamlFile, path: Path_, name: str, valid: Iterable[str]) -> None:
    names = list(valid)
    if name not in names:
        raise SpecError(file.place(path), one_of(names, 40), shown(name), nearest(name, names))
