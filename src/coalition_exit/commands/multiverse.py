"""Running the multiverse of a specification with choices, testing it as a whole, and writing its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED
from coalition_exit.multiverse.choices.space import Multiverse, load_multiverse
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.null.curves import null_curves
from coalition_exit.multiverse.reading.describe import describe
from coalition_exit.multiverse.reading.design import design_of, write_design
from coalition_exit.multiverse.reading.joint import joint_test, write_joint_test
from coalition_exit.multiverse.runs.run import MultiverseRun, Progress, run_multiverse
from coalition_exit.report.output import check_folder
from coalition_exit.report.speccurve_report import write_multiverse_report
from coalition_exit.runner import Sources
from coalition_exit.specs.loading import Spec


@dataclass(frozen=True)
class Options:
    """How a multiverse is run.

    Attributes
    ----------
    jobs
        Processes on this machine.
    resume
        Go on where an earlier run stopped.
    scheduler
        Address of a Dask cluster; "" for none.
    null, seed
        Curves under the null (0 for none), and the seed of their draws.
    """

    jobs: int = 1
    resume: bool = False
    scheduler: str = ""
    null: int = 0
    seed: int = 1


@dataclass(frozen=True)
class Explored:
    """What a multiverse left: its run, its summary in words, its page."""

    run: MultiverseRun
    text: str
    page: Path

    @property
    def exit_code(self) -> int:
        """0, or 1 when some spec has no estimate."""
        return EXIT_MODEL_FAILED if self.run.failed else EXIT_DONE


def multiverse_folder(spec: Spec, out: Path) -> Path:
    """Return where the multiverse of a specification is kept."""
    return out / "multiverse" / spec.table


def describe_choices(spec: Spec) -> str:
    """Say how many specs the choices of a file make, and show one; refuses choices that are wrong.

    Raises
    ------
    SpecError
        One line with file, line and key path.
    """
    return describe(load_multiverse(spec.path))


def explore(
    spec: Spec,
    data: str,
    out: Path,
    options: Options,
    progress: Callable[[Progress], None] | None = None,
    null_progress: Callable[[int, int], None] | None = None,
) -> Explored:
    """Run every spec, the joint test if it is asked for, and write tables, figures and a page.

    Raises
    ------
    InputError
        The specification, the data or the folder cannot be used. A spec without an estimate does not
        raise: it is a row with its reason.
    """
    folder = multiverse_folder(spec, out)
    check_folder(folder)
    run = run_multiverse(
        spec.path, folder, data, jobs=options.jobs, resume=options.resume, scheduler=options.scheduler or None,
        progress=progress,
    )  # fmt: skip
    multiverse = load_multiverse(spec.path)
    write_design(design_of(multiverse), folder)
    if options.null:
        engine = Engine(multiverse, Sources(data).for_spec(multiverse.spec))
        curves = null_curves(engine, options.null, seed=options.seed, jobs=options.jobs, progress=null_progress)
        write_joint_test(joint_test(curves, dict(multiverse.choices.focus)), folder)
    warning = _mixed_scales(multiverse)
    report = write_multiverse_report(folder, folder, note=f"{run.source}. {warning}" if warning else run.source)
    return Explored(run, f"{report.summary.text}\n\n{warning}." if warning else report.summary.text, report.page)


def _mixed_scales(multiverse: Multiverse) -> str:
    """Say which decisions measure a focus term otherwise: its coefficients are then on different scales."""
    focus = set(multiverse.choices.focus)
    mixing = [
        decision.label
        for decision in multiverse.space.decisions
        if decision.kind in ("options", "sweep")
        and any(focus & {*(o.patch.coding or {}), *(o.patch.replace or {})} for o in decision.options)
    ]
    if not mixing:
        return ""
    return (
        f"Options of {', '.join(mixing)} measure a term otherwise, and its coefficient is then on another scale: "
        "between such options compare signs, significance and differences in survival, not sizes, and read medians and "
        "the shares of variance with that in mind"
    )
