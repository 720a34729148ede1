"""Running the multiverse of a specification with choices, testing it as a whole, and writing its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coalition_exit.errors import EXIT_DONE, EXIT_MODEL_FAILED
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.reading.describe import describe
from coalition_exit.multiverse.reading.design import design_of, write_design
from coalition_exit.multiverse.reading.joint import joint_test, write_joint_test
from coalition_exit.multiverse.reading.measures import scale_of
from coalition_exit.multiverse.reading.needs import check_data
from coalition_exit.multiverse.runs.null import run_null
from coalition_exit.multiverse.runs.pool import Progress
from coalition_exit.multiverse.runs.run import MultiverseRun, run_multiverse
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


def check_choices(spec: Spec, data: str) -> str:
    """Refuse choices that are wrong or that the data cannot serve at all; say which the data cannot serve.

    Raises
    ------
    InputError
        One line with file, line and key path.
    """
    multiverse = load_multiverse(spec.path)
    return check_data(multiverse, Sources(data).for_spec(multiverse.spec))


def explore(
    spec: Spec,
    data: str,
    out: Path,
    options: Options,
    progress: Callable[[Progress], None] | None = None,
    null_progress: Callable[[Progress], None] | None = None,
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
    multiverse = load_multiverse(spec.path)
    jobs, resume, scheduler = options.jobs, options.resume, options.scheduler or None
    run = run_multiverse(
        spec.path, folder, data, jobs=jobs, resume=resume, scheduler=scheduler, progress=progress
    )  # fmt: skip
    design = design_of(multiverse)
    write_design(design, folder)
    pending = options.null if run.failed < run.specs else 0
    report = write_multiverse_report(folder, folder, note=run.source, pending=pending)
    if pending:
        # The page is whole before the test, which takes longest.
        curves = run_null(
            spec.path, folder, data, options.null, seed=options.seed, jobs=jobs, resume=resume, scheduler=scheduler,
            progress=null_progress,
        )  # fmt: skip
        scale = scale_of(report.summary.specs, design, curves.numbers)
        write_joint_test(joint_test(curves, design.focus, scale), folder)
        report = write_multiverse_report(folder, folder, note=run.source, before=report)
    return Explored(run, report.text, report.page)
