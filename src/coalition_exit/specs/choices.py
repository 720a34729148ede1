"""The ``choices`` block of a specification: decisions, their options, and which combinations are run.

An option is a patch of the reference model. A decision lists options by name, sweeps over a range of a rule's
parameter, or goes through sets of controls. `decisions` checks them;
`coalition_exit.multiverse.choices.space` expands them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, overload

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.complaints import spec_error
from coalition_exit.specs.schema import Coded, Filter, Label, ModelDefaults, Name, SpecFile
from coalition_exit.specs.strict import Strict
from coalition_exit.specs.yaml_file import Path_, YamlFile

OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Sign = Literal["positive", "negative", "either"]
MOST_CONTROLS = 24


class Patch(ModelDefaults):
    """What an option changes in the reference model."""

    add: list[Name] | None = Field(None, description="Variables added to the covariates")
    drop: list[Name] | None = Field(None, description="Covariates of the reference model left out")
    replace: dict[Name, Name] | None = Field(None, description="Covariate of the reference model -> another")


class Sweep(Strict):
    """A range of values of a rule's parameter."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    variable: Coded | list[Coded] = Field(description="Variable, or variables, whose rule has the parameter")
    parameter: Coded = Field("window", description="Parameter of the rule")
    start: int | float = Field(alias="from", description="First value")
    stop: int | float = Field(alias="to", description="Last value, if a whole number of steps leads to it")
    step: int | float = Field(gt=0, description="Distance between values")


class DecisionEntry(Strict):
    """One decision: exactly one of options, sweep, subsets_of, include_each."""

    label: Label | None = Field(None, description="Name in figures; the key by default")
    options: dict[OptionName, Patch | None] | None = Field(None, description="Name -> what changes; the first is the "
                                                           "reference")  # fmt: skip
    sweep: Sweep | None = Field(None, description="An option for each value of a parameter")
    subsets_of: list[Name] | None = Field(
        None, min_length=1, max_length=MOST_CONTROLS, description="Controls: an option for each subset of them"
    )
    include_each: list[Name] | None = Field(
        None, min_length=1, max_length=MOST_CONTROLS, description="Controls: a decision for each, in or out"
    )
    always: list[Name] | None = Field(None, description="Controls that are in every subset")


class SurvivalGap(Strict):
    """The difference in survival that each spec reports."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    time: float = Field(gt=0, description="Time, in the data's unit (days)")
    start: dict[Name, float] = Field(alias="from", min_length=1, description="Covariate values compared")
    stop: dict[Name, float] = Field(alias="to", min_length=1, description="Covariate values they are compared with")
    others: Literal["mean", "median", "zero"] = Field("mean", description="Value of the other covariates")


class Choices(Strict):
    """Decisions, options and which combinations of them are run."""

    model: Name | None = Field(None, description="Key of the reference model; the first model by default")
    focus: dict[Name, Sign] = Field(min_length=1, description="Covariates of interest -> expected sign")
    survival: SurvivalGap | None = Field(None, description="Difference in survival; none by default")
    transform: Literal["km", "rank", "log", "identity"] = Field(
        "km", description="Function of time in the tests of proportional hazards"
    )
    decisions: dict[Coded, DecisionEntry] = Field(min_length=1, description="The decisions, the slowest first")
    allow_if: list[Filter] | None = Field(None, description='All must hold, e.g. exit != "partial" or window > 30')
    forbid_if: list[Filter] | None = Field(None, description="None may hold")
    reference: dict[Coded, OptionName | int | float] | None = Field(
        None, description="Options of the reference spec where it is not the first ones"
    )


class ChoiceFile(SpecFile):
    """A specification with choices."""

    choices: Choices = Field(description="Decisions, options, exclusions")  # type: ignore[assignment, unused-ignore]


@dataclass(frozen=True)
class Option:
    """One option: its name, its value in expressions, what it changes."""

    name: str
    value: str | float
    patch: Patch


@dataclass(frozen=True)
class Decision:
    """A decision and its options; ``options[0]`` need not be the reference.

    Attributes
    ----------
    kind
        "options", "sweep", "subsets" or "each".
    reference
        Position of the reference option.
    """

    name: str
    label: str
    kind: str
    options: Sequence[Option]
    reference: int

    @property
    def numeric(self) -> bool:
        """Whether expressions compare it with numbers."""
        return self.kind == "sweep"


class Subsets(Sequence[Option]):
    """All subsets of some controls, made as they are asked for; the reference model's own comes first."""

    def __init__(self, controls: Sequence[str], always: Sequence[str], base: Sequence[str]) -> None:
        self.controls, self.always, self.base = tuple(controls), tuple(always), tuple(base)
        self.mask = sum(1 << n for n, name in enumerate(controls) if name in base)

    def __len__(self) -> int:
        return 1 << len(self.controls)

    @overload
    def __getitem__(self, index: int) -> Option: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Option]: ...
    def __getitem__(self, index: int | slice) -> Option | Sequence[Option]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        bits = index ^ self.mask
        inside = [name for n, name in enumerate(self.controls) if bits >> n & 1]
        name = "+".join(inside) or "none"
        return Option(name, name, include(inside, self.controls, self.base, self.always))


def include(inside: Sequence[str], controls: Sequence[str], base: Sequence[str], always: Sequence[str] = ()) -> Patch:
    """Return the patch that puts some of the controls in and takes the others out."""
    add = [name for name in (*always, *inside) if name not in base]
    drop = [name for name in controls if name in base and name not in inside]
    return Patch.model_validate({key: names for key, names in (("add", add), ("drop", drop)) if names})


def parse_choices(file: YamlFile) -> Choices:
    """Check the ``choices`` block of a specification against its format.

    Raises
    ------
    SpecError
        One line with file, line and key path, what was expected, what came, the nearest name.
    """
    try:
        return ChoiceFile.model_validate(file.content).choices
    except ValidationError as error:
        raise _complaint(file, error) from None


_PARTS: tuple[tuple[str, type[Strict]], ...] = (
    ("sweep", Sweep), ("survival", SurvivalGap), ("errors", ModelDefaults),
)  # fmt: skip


def _complaint(file: YamlFile, error: ValidationError) -> SpecError:
    """Name an unknown key of the block with the keys it may have; leave the rest to the common messages."""
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part not in ("Coded", "list[Coded]"))
        if path[:1] != ("choices",) or detail["type"] != "extra_forbidden":
            continue
        fields = [f.alias or name for name, f in _model_at(path[:-1]).model_fields.items()]
        return SpecError(file.place(path), one_of(fields, 40), shown(path[-1]), nearest(str(path[-1]), fields))
    return spec_error(file, error)


def _model_at(path: Path_) -> type[Strict]:
    """Return what stands at a key path of the block."""
    inside = path[1:]
    if not inside:
        return Choices
    if inside[0] == "survival":
        return SurvivalGap
    if len(inside) == 2:
        return DecisionEntry
    if inside[2] == "sweep":
        return Sweep
    if len(inside) == 4:
        return Patch
    found = Patch.model_fields[str(inside[4])].annotation
    parts = [part for part in getattr(found, "__args__", ()) if isinstance(part, type) and issubclass(part, Strict)]
    return parts[0] if parts else Patch


class OptionNames(Sequence[str]):
    """Names of options, made as they are asked for."""

    def __init__(self, options: Sequence[Option]) -> None:
        self.options = options

    def __len__(self) -> int:
        return len(self.options)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [option.name for option in self.options[index]]
        return self.options[index].name
