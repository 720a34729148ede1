"""Running the blocks ``compensation``, ``uncertainty`` and ``influence``: numbers, a row a part, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from coalition_exit.errors import CoalitionExitError, FitError
from coalition_exit.robustness.buyout import bad_times, bought_off
from coalition_exit.robustness.evalue import e_values
from coalition_exit.robustness.left_out import leave_out
from coalition_exit.robustness.overturning import default_patterns, overturning_shares
from coalition_exit.robustness.problem import OK, Model, Problem
from coalition_exit.robustness.recoding import last_days, smallest_recoding
from coalition_exit.robustness.simulation import simulate_compensation
from coalition_exit.robustness.uncertainty import ALL, assumptions, coding_uncertainty
from coalition_exit.runner import RunResult
from coalition_exit.runner.sources import RecordSource
from coalition_exit.runner.verdicts import Finding, finding_of, verdict_row
from coalition_exit.specs.blocks import block_model
from coalition_exit.specs.loading import Spec
from coalition_exit.specs.models import ModelSpec
from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty

Advance = Callable[[str], None]
PART_COLUMNS = ("table", "block", "part", "model", "seed", "status", "reason")
NEEDS_RECORD = "it needs the facts of the record: run it with --data record"
_Z = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Robustness:
    """What the blocks of one specification gave.

    Attributes
    ----------
    table
        Name of the specification's table.
    frames
        Numbers by name of their file, e.g. ``bought_off``.
    parts
        A row a part that was run, columns `PART_COLUMNS`; what failed has its reason.
    verdicts
        Rows for `coalition_exit.runner.verdicts.as_verdicts`, without table and whose objection.
    said
        Sentences for the notes, by name of the file.
    """

    table: str
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """(table, part, reason) of what could not be computed."""
        return [(self.table, f"{p['block']}: {p['part']}", p["reason"]) for p in self.parts if p["status"] != OK]


def robustness_steps(spec: Spec) -> int:
    """Return how often the blocks of a specification report progress."""
    steps = 0
    if spec.compensation is not None:
        steps += 3 + (spec.compensation.simulation.replicates if spec.compensation.simulation is not None else 0)
    if spec.uncertainty is not None:
        steps += _n_draws(spec.uncertainty)
    if spec.influence is not None:
        steps += 1 + len(spec.influence.readings) * len(_terms_in_question(spec, spec.influence))
    return steps


def seeds_of(spec: Spec) -> dict[str, int]:
    """Return the seeds that the blocks use, for ``run.json``."""
    blocks = {"compensation": spec.compensation, "uncertainty": spec.uncertainty}
    return {f"{spec.table} > {name}": block.seed for name, block in blocks.items() if block is not None}


def run_blocks(result: RunResult, jobs: int = 1, progress: Advance | None = None) -> Robustness:
    """Run the blocks of a specification after its models.

    Parameters
    ----------
    result
        The run of its models, with the data source.
    jobs
        Processes for draws and replicates; no result depends on it.
    progress
        Called `robustness_steps` times with the table's name.

    Returns
    -------
    Robustness
        A part that cannot be computed is a row with its reason; the others are run.
    """
    run = _Run(result, jobs, progress)
    spec = result.spec
    if spec.compensation is not None:
        _compensation(run, spec.compensation)
    if spec.uncertainty is not None:
        _uncertainty(run, spec.uncertainty)
    if spec.influence is not None:
        _influence(run, spec.influence)
    return run.found


class _Run:
    """The parts of one specification's blocks, run one after another."""

    def __init__(self, result: RunResult, jobs: int, progress: Advance | None) -> None:
        self.result, self.spec, self.jobs, self.progress = result, result.spec, jobs, progress
        self.found = Robustness(self.spec.table)
        self._problems: dict[str, Problem] = {}

    def part(self, block: str, name: str, model: str, work: Callable[[_Steps], None], steps: int, seed: Any) -> bool:
        """Run one part and note how it went."""
        counted = _Steps(self, steps)
        status, reason = OK, ""
        try:
            work(counted)
        except CoalitionExitError as error:
            status, reason = error.status if isinstance(error, FitError) else "bad_data", str(error)
        counted.finish()
        values = (self.spec.table, block, name, model, seed, status, reason)
        self.found.parts.append(dict(zip(PART_COLUMNS, values, strict=True)))
        return status == OK

    def problem(self, model: ModelSpec) -> Problem:
        own = next(one for one in self.result.results if one.model.key == model.key)
        if own.fit is None:
            raise FitError(own.status, f"the model {model.key} has no estimate: {own.reason}")
        if model.key not in self._problems:
            self._problems[model.key] = Problem.from_source(model, self.result.data)
        return self._problems[model.key]

    def judge(self, kind: str, model: str, label: str, found: Mapping[str, Finding]) -> None:
        """Hold findings against the same model as it was fitted."""
        if self.spec.objection is None:
            return
        reference = next(one for one in self.result.results if one.model.key == model)
        for term, expected in self.spec.objection.focus.items():
            if term in found:
                row = verdict_row(finding_of(reference, term), found[term], expected)
                head = {"reference": model, "kind": kind, "model": model, "label": label, "term": term}
                self.found.verdicts.append({**head, **row, "reason": ""})


class _Steps:
    """Progress of one part: what it did not report itself is made up for at its end."""

    def __init__(self, run: _Run, steps: int) -> None:
        self.run, self.steps, self.told = run, steps, 0

    def __call__(self, done: int, _: int) -> None:
        while self.told < min(done, self.steps):
            self.told += 1
            if self.run.progress is not None:
                self.run.progress(self.run.spec.table)

    def finish(self) -> None:
        self(self.steps, self.steps)


def _focus(spec: Spec, model: ModelSpec) -> list[str]:
    focus = spec.objection.focus if spec.objection is not None else ()
    return [term for term in focus if term in model.covariates]


def _findings(rows: pd.DataFrame) -> dict[str, Finding]:
    """Read findings off a table with a row a term; errors without an interval get the normal one."""
    found = {}
    for row in rows.to_dict("records"):
        reach = _Z * row["std_error"]
        low, high = (
            row.get(name, row["estimate"] + sign * reach) for name, sign in (("conf_low", -1), ("conf_high", 1))
        )
        found[str(row["term"])] = Finding(row["estimate"], row["std_error"], low, high, row["p_value"])
    return found


def _compensation(run: _Run, block: Compensation) -> None:
    model = block_model(run.spec.models, run.spec.objection, block.model)
    assert model is not None
    frames, key = run.found.frames, model.key

    def bought(_: _Steps) -> None:
        problem = run.problem(model)
        bad = bad_times(problem, block.trend, block.bad_times)
        found = bought_off(problem, block.shares, bad, imputations=block.imputations, seed=block.seed)
        frames["bought_off"] = found.table.assign(where=found.where, n_days=found.n_days)
        run.found.said["bought_off"] = f"{block.imputations} imputations a share, seed {block.seed}"
        good = found.table[found.table["status"] == OK]
        if len(good) and good["share"].max() > 0:
            share = good["share"].max()
            label = f"A share {share:g} of the exits in bad times bought off"
            run.judge("compensation", key, label, _findings(good[good["share"] == share]))
        for row in found.table[found.table["status"] != OK].drop_duplicates("share").itertuples(index=False):
            raise FitError(row.status, f"share {row.share:g}: {row.reason}")

    def overturning(_: _Steps) -> None:
        problem = run.problem(model)
        bad = bad_times(problem, block.trend, block.bad_times)
        given = {pattern.key: pattern.where for pattern in block.patterns or []}
        patterns = given or default_patterns(problem, block.front, bad)
        found = overturning_shares(problem, patterns, _focus(run.spec, model) or None, bound=block.bound)
        frames["overturning"] = found.table.assign(bound=found.bound)

    def confounders(_: _Steps) -> None:
        frames["e_values"] = e_values(run.problem(model), contrasts=block.contrasts)

    run.part("compensation", "exits bought off", key, bought, 1, block.seed)
    run.part("compensation", "shares that overturn", key, overturning, 1, None)
    run.part("compensation", "E-values", key, confounders, 1, None)
    settings = block.simulation
    if settings is not None:

        def simulation(told: _Steps) -> None:
            needed = run.problem(model) if settings.covariates == "panel" else None
            found = simulate_compensation(
                settings, needed, front=block.front, trend=block.trend, seed=block.seed, jobs=run.jobs, progress=told
            )
            frames["simulation"], frames["simulation_replicates"] = found.table, found.replicates
            run.found.said["simulation"] = (
                f"{settings.replicates} simulated data sets, seed {block.seed}; truth {block.front} "
                f"{settings.b_front:g}, {block.trend} {settings.b_trend:g}; mechanism {settings.mechanism}; "
                f"payment from quantile {settings.begins:g} of the trend, full at {settings.full:g}"
            )

        run.part("compensation", "simulation", key, simulation, settings.replicates, block.seed)


def _n_draws(block: Uncertainty) -> int:
    sets = 1 + (len(block.kinds) if block.separately and len(block.kinds) > 1 else 0)
    return sets * block.draws


def _uncertainty(run: _Run, block: Uncertainty) -> None:
    fitted = {one.model.key for one in run.result.results if one.fit is not None}
    models = [model for model in run.spec.models if model.is_cox and model.key in fitted]
    keys = ", ".join(model.key for model in models)

    def draw(told: _Steps) -> None:
        source = run.result.data
        if not isinstance(source, RecordSource):
            raise FitError("needs_record", NEEDS_RECORD)
        if not models:
            raise FitError("no_observations", "no Cox model of the table has an estimate")
        found = coding_uncertainty(
            [Model.of(model) for model in models], source.record, block, jobs=run.jobs, progress=told
        )
        frames = run.found.frames
        frames |= {"uncertainty": found.table, "uncertainty_draws": found.draws, "uncertainty_exits": found.exits}
        frames |= {"uncertainty_cases": found.cases, "uncertainty_numbers": found.numbers}
        run.found.said["uncertainty"] = " ".join([assumptions(block), *found.cautions])
        pooled = found.table[(found.table["drawn"] == ALL) & (found.table["reason"] == "")]
        for model in models:
            named = f"{model.head}: contested" if len(models) > 1 else "Contested"
            own = _findings(pooled[pooled["model"] == model.key])
            run.judge("coding uncertainty", model.key, f"{named} facts drawn {block.draws} times", own)
        lost = found.table.loc[found.table["reason"] != "", ["model", "drawn", "reason"]].drop_duplicates()
        for row in lost.itertuples(index=False):
            raise FitError("not_converged", f"{row.model}, facts drawn: {row.drawn}: {row.reason}")

    run.part("uncertainty", "facts drawn", keys, draw, _n_draws(block), block.seed)


def _terms_in_question(spec: Spec, block: Influence) -> list[str]:
    model = block_model(spec.models, spec.objection, block.model)
    assert model is not None
    return [block.term] if block.term is not None else _focus(spec, model) or [model.covariates[0]]


def _influence(run: _Run, block: Influence) -> None:
    model = block_model(run.spec.models, run.spec.objection, block.model)
    assert model is not None
    frames, key = run.found.frames, model.key

    def without(_: _Steps) -> None:
        found = leave_out(run.problem(model), pairs=block.pairs)
        frames["influence"] = found.ranges
        frames["without_coalitions"], frames["without_wars"] = found.coalitions, found.wars
        if found.pairs is not None:
            frames["without_pairs"] = found.pairs
        for what, table in (("coalition", found.coalitions), ("war", found.wars)):
            for term in _focus(run.spec, model):
                weakest = _weakest(table, found.reference, term)
                if weakest is not None:
                    label = f"Least certain without one {what}: {weakest['label'].iloc[0]}"
                    run.judge("influence", key, label, _findings(weakest))

    run.part("influence", "left out", key, without, 1, None)
    add, given = None, False
    if block.candidates is not None:
        given = True
        add = _candidates(run, block.candidates, model)
    recoded: dict[str, list[pd.DataFrame]] = {"recoding": [], "recoding_exits": [], "recoding_tried": []}
    for term in _terms_in_question(run.spec, block):
        for reading in block.readings:

            def search(_: _Steps, term: str = term, reading: str = reading) -> None:
                found = smallest_recoding(
                    run.problem(model), term, reading, level=block.level, exhaustive=block.exhaustive,
                    most=block.most, add=add,
                )  # fmt: skip
                head = {"term": term, "reading": reading}
                candidates = "exits, and candidates to become exits" if add is not None else "exits"
                recoded["recoding"].append(found.summary.assign(recodable=candidates, said=found.text))
                recoded["recoding_exits"].append(found.table.assign(**head))
                recoded["recoding_tried"].append(found.tried.assign(**head))

            run.part("influence", f"exits recoded ({term}, {reading})", key, search, 1, None)
    frames |= {name: _joined(parts) for name, parts in recoded.items() if parts}
    if given and add is None:
        run.found.said["recoding"] = "no candidates could be used: exits are recoded as none only"


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables of one kind, some of them empty."""
    rows = [row for part in parts for row in part.to_dict("records")]
    frame = pd.DataFrame(rows, columns=list(parts[0].columns))
    return frame.astype({"size": "Int64"}) if "size" in frame else frame


def _candidates(run: _Run, where: str, model: ModelSpec) -> Any:
    """Return the rows that might be exits; None, and a row with its reason, where they cannot be had."""
    rows: list[Any] = []

    def find(_: _Steps) -> None:
        source = run.result.data
        if not isinstance(source, RecordSource):
            raise FitError("needs_record", NEEDS_RECORD)
        rows.append(last_days(run.problem(model), source.record, where, "influence > candidates"))

    run.part("influence", "candidates", model.key, find, 0, None)
    return rows[0] if rows else None


def _weakest(table: pd.DataFrame, reference: pd.DataFrame, term: str) -> pd.DataFrame | None:
    """Return the row in which a finding is weakest: the smallest z with the reference's sign."""
    own = table[(table["term"] == term) & (table["status"] == OK)]
    if not len(own):
        return None
    sign = np.sign(reference.loc[reference["term"] == term, "estimate"].iloc[0])
    return own.loc[[(sign * own["estimate"] / own["std_error"]).idxmin()]]


def as_parts(found: Sequence[Robustness]) -> pd.DataFrame:
    """Return the parts of several specifications as rows of ``robustness.csv``."""
    frame = pd.DataFrame([row for one in found for row in one.parts], columns=list(PART_COLUMNS))
    return frame.astype({"seed": "Int64"})
