"""The blocks ``compensation:``, ``uncertainty:`` and ``influence:`` of a specification file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from coalition_exit.specs.strict import Strict

_KEY = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"

Key = Annotated[str, StringConstraints(pattern=_KEY, max_length=80)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Filter = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0, le=10)]
Days = Annotated[float, Field(ge=0, le=3650)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Kind = Literal["exits", "dates", "fronts", "losses"]
Attribute = Literal[
    "fighting_stopped", "partners_wish", "choice", "ended_war", "aims_reached", "aims_widened", "withdrawal"
]
Target = Literal["all", "independent", "common"]
Reading = Literal["significance", "sign"]
TARGETS: tuple[Target, ...] = ("all", "independent", "common")
READINGS: tuple[Reading, ...] = ("significance", "sign")
KINDS: tuple[Kind, ...] = ("exits", "dates", "fronts", "losses")
ATTRIBUTES: tuple[Attribute, ...] = (
    "fighting_stopped", "partners_wish", "choice", "ended_war", "aims_reached", "aims_widened", "withdrawal",
)  # fmt: skip


def _once(names: list[str], what: str) -> None:
    if len(set(names)) < len(names):
        raise PydanticCustomError("twice", "{what} that differ", {"what": what})


class Simulation(Strict):
    """A simulation with known truth: what compensation does to the estimates."""

    covariates: Literal["panel", "simulated"] = Field("panel", description="Whose fronts and trends")
    b_front: float = Field(-1.4, description="True effect of the common front (log hazard ratio)")
    b_trend: float = Field(5.0, description="True effect of the trend (log hazard ratio a unit)")
    exits: int | None = Field(None, ge=1, description="Expected latent exits; by default as many as observed")
    mechanism: Literal["hazard", "buyout"] = Field(
        "hazard", description="hazard = the payment lowers the hazard; buyout = a latent exit is bought off"
    )
    targets: list[Target] = Field(
        default_factory=lambda: list(TARGETS),
        min_length=1,
        description="Who is paid: all; in proportion to troops on fronts of their own; on common fronts",
    )
    strengths: list[Share] = Field(
        default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 0.9],
        min_length=1,
        description="Share of the hazard taken away (of the exits bought off) where payment is full",
    )
    begins: Probability = Field(0.5, description="Quantile of the trend at which payment begins")
    full: Probability = Field(0.95, description="Quantile of the trend at which payment is full")
    lasting: int = Field(0, ge=0, le=3650, description="Days without exits after one was bought off (buyout)")
    replicates: int = Field(200, ge=2, le=100_000, description="Simulated data sets")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begins >= self.full:
            raise PydanticCustomError("order", "full to be above begins")
        if self.lasting and self.mechanism != "buyout":
            raise PydanticCustomError("lasting", "lasting with mechanism: buyout only")
        _once(list(self.targets), "targets")
        _once([f"{s!r}" for s in self.strengths], "strengths")
        return self


class BadTimes(Strict):
    """When times are bad: the trend above a value, or above a quantile of its days."""

    above: float | None = Field(None, description="Value of the trend; 0 if neither is given")
    quantile: Probability | None = Field(None, description="Quantile of the trend over all rows of the sample")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.above is not None and self.quantile is not None:
            raise PydanticCustomError("one", "above or quantile, not both")
        return self


class Pattern(Strict):
    """A guess at which exits were bought off."""

    key: Key = Field(description="Short name")
    where: Filter = Field(description="Comparison of the panel's columns, e.g. foverlap == 1")


class Compensation(Strict):
    """Side payments that keep exits from happening."""

    model: Key | None = Field(
        None, description="Key of the model; by default the objection's reference, else the first Cox model"
    )
    front: Name = Field("foverlap", description="The covariate for fronts")
    trend: Name = Field("ctrend60", description="The covariate for the battlefield trend")
    bad_times: BadTimes = Field(default_factory=lambda: BadTimes.model_validate({}))
    shares: list[Share] = Field(
        default_factory=lambda: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        min_length=1,
        description="Shares of the latent exits in bad times that were bought off",
    )
    imputations: int = Field(40, ge=2, le=10_000, description="Imputed data sets a share")
    patterns: list[Pattern] | None = Field(None, description="Who else may have been bought off; a few by default")
    bound: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="Largest share that the search looks at")
    contrasts: dict[Name, float] | None = Field(
        None, description="Difference in a covariate to which an E-value applies; by default 1 for 0/1, else one SD"
    )
    simulation: Simulation | None = Field(None, description="Simulation with known truth; absent = none")
    seed: Seed = Field(1, description="Seed of everything random in this block")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        _once([f"{s!r}" for s in self.shares], "shares")
        _once([p.key for p in self.patterns or []], "keys of patterns")
        return self


class Flips(Strict):
    """Probability that a yes/no fact was the other way, by the row's confidence."""

    high: Probability = 0.0
    medium: Probability = 0.05
    low: Probability = 0.25


class DateSpread(Strict):
    """Standard deviation of an exit's date in days, by the row's confidence."""

    high: Days = 0.0
    medium: Days = 7.0
    low: Days = 30.0


class ShareSpread(Strict):
    """Standard deviation of the logarithm of a share of troops, by the row's confidence."""

    high: Spread = 0.0
    medium: Spread = 0.25
    low: Spread = 0.5


class Absence(Strict):
    """Probability that the troops of a row were not on that front but on the state's others."""

    high: Probability = 0.0
    medium: Probability = 0.0
    low: Probability = 0.05


class LossSpread(Strict):
    """Standard deviation of the logarithm of a number of losses, by the row's confidence."""

    high: Spread = 0.05
    medium: Spread = 0.2
    low: Spread = 0.5


class Uncertainty(Strict):
    """What the record's confidence is taken to mean, and how often it is drawn."""

    draws: int = Field(50, ge=2, le=100_000, description="Drawn records")
    kinds: list[Kind] = Field(
        default_factory=lambda: list(KINDS), min_length=1, description="Kinds of facts drawn, together and one by one"
    )
    separately: bool = Field(True, description="Also draw one kind at a time")
    attributes: list[Attribute] = Field(
        default_factory=lambda: list(ATTRIBUTES), min_length=1, description="Columns of exits.csv that may flip"
    )
    flips: Flips = Field(default_factory=lambda: Flips.model_validate({}))
    unclear: Probability = Field(0.5, description="Probability that 'unclear' is read as yes (or as own choice)")
    dates: DateSpread = Field(default_factory=lambda: DateSpread.model_validate({}))
    shares: ShareSpread = Field(default_factory=lambda: ShareSpread.model_validate({}))
    absent: Absence = Field(default_factory=lambda: Absence.model_validate({}))
    losses: LossSpread = Field(default_factory=lambda: LossSpread.model_validate({}))
    seed: Seed = Field(1, description="Seed of the draws")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        _once(list(self.kinds), "kinds")
        _once(list(self.attributes), "attributes")
        return self


class Influence(Strict):
    """Which coalitions, wars and single exits carry the finding."""

    model: Key | None = Field(
        None, description="Key of the model; by default the objection's reference, else the first Cox model"
    )
    term: Name | None = Field(
        None, description="The coefficient in question; by default the objection's focus, else the first covariate"
    )
    readings: list[Reading] = Field(
        default_factory=lambda: list(READINGS), min_length=1, description="What overturned means"
    )
    level: Annotated[float, Field(gt=0, lt=1)] = Field(0.05, description="Level of significance")
    candidates: Filter | None = Field(
        None, description="Comparison of columns of exits.csv: exits that might be recoded as abandonment"
    )
    exhaustive: int = Field(2, ge=1, le=4, description="Sizes up to which every set is tried")
    most: int = Field(10, ge=1, le=50, description="Largest set looked for")
    pairs: bool = Field(True, description="Also leave two coalitions out at a time")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        _once(list(self.readings), "readings")
        return self


__all__ = [
    "ATTRIBUTES", "KINDS", "Absence", "BadTimes", "Compensation", "DateSpread", "Flips", "Influence", "LossSpread",
    "Pattern", "ShareSpread", "Simulation", "Uncertainty",
]  # fmt: skip
