"""Run the symposium's objections and bring the page on them up to date.

    python replication/objections.py

writes replication/expected/symposium/ (the numbers) and docs/objections.md (the page, made from those numbers and the
specifications alone). A test fails when one of them is stale. replication/update.py runs it too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
from pathlib import Path

import pandas as pd

from coalition_exit.commands import run_specs, user_specs
from coalition_exit.report.grid import Grid, render
from coalition_exit.report.numbers import format_a2
from coalition_exit.report.verdicts import RULES
from coalition_exit.runner.verdicts import CODED, WORDS
from coalition_exit.specs.loading import Spec

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "objections.md"
EXPECTED = HERE / "expected" / "symposium"
COMMAND = "coalition-exit run symposium --data record"
FILES = ("verdicts.csv", "verdict_exits.csv")
NUMBERS = ("bought_off", "overturning", "e_values", "simulation", "uncertainty", "influence", "recoding")
_MOST_NAMED = 5
# The symposium's order: Henke, Morey, Wolford, the response; then the project's own.
_ORDER = ("henke", "morey", "wolford", "weisiger")
_WIDTH = 128


def main() -> None:
    """Replace the derived files."""
    specs = objections()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_specs(specs, "record", out, COMMAND, jobs=min(2, os.cpu_count() or 1))
        EXPECTED.mkdir(parents=True, exist_ok=True)
        for old in EXPECTED.glob("*.csv"):
            old.unlink()
        for name in FILES:
            shutil.copyfile(out / name, EXPECTED / name)
        for spec in specs:
            for name in NUMBERS:
                path = out / "robustness" / f"{spec.table}_{name}.csv"
                if path.is_file():
                    shutil.copyfile(path, EXPECTED / path.name)
    PAGE.write_text(page(specs, EXPECTED), encoding="utf-8", newline="\n")


def objections() -> list[Spec]:
    """Load the specifications of the symposium."""
    specs = [spec for spec in user_specs(["symposium"]) if isinstance(spec, Spec)]
    rank = {name: k for k, name in enumerate(_ORDER)}
    return sorted(specs, key=lambda spec: (rank.get(spec.table.partition("_")[0], len(rank)), spec.table))


def page(specs: list[Spec], folder: Path) -> str:
    """Return the page, from the specifications and the stored numbers."""
    verdicts = _read(folder / "verdicts.csv")
    exits = _read(folder / "verdict_exits.csv")
    parts = [_head(), _overview(specs, verdicts), _rules()]
    parts += [_section(spec, verdicts, exits, folder) for spec in specs]
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""])
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.fillna(dict.fromkeys(text, ""))


def _head() -> str:
    return f"""# The symposium's objections

<!-- Made by replication/objections.py from the specifications in specs/symposium and the numbers in
replication/expected/symposium; a test fails when it is out of date. -->

The *International Studies Quarterly* symposium of 2017 on Weisiger (2016) asks whether the findings depend on how
things are coded. Each objection is a specification in `specs/symposium/`: the claim, what changes, the models, a
verdict. The symposium is known to the project from summaries of it; the codings are the project's.

    {COMMAND}
    coalition-exit run symposium/morey_entrapment
    coalition-exit new my-objection

The first command runs all of them in a few minutes and prints a table of the verdicts; `--jobs 2` shortens it. The last
one writes a file to put an objection of one's own in.

All numbers here are those of the package's coded record, which is reconstructed from public facts and is not the
author's data. On the record the coefficient of the common front is not distinguishable from zero in the article's
full model, so an objection cannot take it away; what can be asked is whether it then appears. Nothing here says what
the author's data would give: coding rules need facts that his file does not have. With 32 exits and eight covariates
there are four exits for each coefficient, and fewer under many of the recodings: estimates far from the reference may
be chance."""


def _overview(specs: list[Spec], verdicts: pd.DataFrame) -> str:
    rows = []
    for spec in specs:
        own = verdicts[verdicts["table"] == spec.table]
        assert spec.objection is not None
        said = [_counted(own[own["term"] == term]) for term in spec.objection.focus]
        rows.append((spec.table, spec.objection.who, *said))
    first = specs[0]
    assert first.objection is not None
    heads = ("Specification", "Whose", *(first.label_of(term) for term in first.objection.focus))
    return "## In short\n\n" + _table(heads, rows)


def _counted(rows: pd.DataFrame) -> str:
    counts = {word: int((rows["verdict"] == word).sum()) for word in WORDS}
    return "; ".join(f"{WORDS[word]} ({n} of {len(rows)})" for word, n in counts.items() if n)


def _rules() -> str:
    listed = _wrapped("\n".join(f"- {text}." for text in dict.fromkeys(RULES.values())))
    return f"""## How a verdict is reached

Each model is held against the reference of its file, the article's full model. A finding is distinguishable from zero
when its 95% interval excludes zero.

{listed}

"Moved" is the difference in standard errors of the reference. It is no test: both models are fitted to much the same
data. Sizes are compared only between coefficients on one scale (same estimator, the variable itself coded alike)."""


def _section(spec: Spec, verdicts: pd.DataFrame, exits: pd.DataFrame, folder: Path) -> str:
    block = spec.objection
    assert block is not None
    own = verdicts[verdicts["table"] == spec.table]
    lines = [f"## {spec.table}", f"*{spec.title}.* `specs/symposium/{spec.table}.yaml`"]
    lines += [f"Claim ({block.who}): {block.claim}", f"What changes: {block.changes}"]
    lines += [f"What these data cannot answer: {block.limits}"] if block.limits else []
    lines.append(_verdict_table(spec, own))
    lines += _named(spec, exits)
    tools = {"compensation": _compensation, "uncertainty": _uncertainty, "influence": _influence}
    lines += [text for name, tell in tools.items() if getattr(spec, name) is not None for text in tell(spec, folder)]
    return "\n\n".join(_wrapped(line) for line in lines if line)


def _wrapped(text: str) -> str:
    """Break prose into lines; tables stay as they are."""
    if text.startswith("|"):
        return text
    options = {"break_on_hyphens": False, "break_long_words": False}
    return "\n".join(
        textwrap.fill(line, _WIDTH, subsequent_indent="  " if line.startswith("- ") else "", **options)
        for line in text.split("\n")
    )


def _verdict_table(spec: Spec, own: pd.DataFrame) -> str:
    assert spec.objection is not None
    terms = list(spec.objection.focus)
    rows = [_reference_row(spec, own, terms)]
    for label in own["label"].drop_duplicates():
        cells = []
        for term in terms:
            found = own[(own["label"] == label) & (own["term"] == term)]
            cells += _cells(found.iloc[0]) if len(found) else ["", "", ""]
        first = own[own["label"] == label].iloc[0]
        coded = first["kind"] == CODED
        events = f"{first['n_event']:.0f}" if coded and pd.notna(first["n_event"]) else ""
        rows.append((label, events, _changed(first) if coded else "", *cells))
    heads = ("", "Exits", "Changed", *(head for t in terms for head in (spec.label_of(t), "Moved", "Verdict")))
    return _table(heads, rows)


def _reference_row(spec: Spec, own: pd.DataFrame, terms: list[str]) -> tuple[str, ...]:
    assert spec.objection is not None
    label = next(model.head for model in spec.models if model.key == spec.objection.reference)
    cells: list[str] = []
    for term in terms:
        row = own[own["term"] == term].iloc[0]
        cells += [f"{format_a2(row['reference_estimate'])} ({format_a2(row['reference_std_error'])})", "", "reference"]
    return label, "", "", *cells


def _cells(row: pd.Series) -> list[str]:
    if pd.isna(row["estimate"]):
        return ["", "", str(row["said"])]
    moved = "" if pd.isna(row["difference_in_errors"]) else f"{row['difference_in_errors']:+.2f}"
    return [f"{format_a2(row['estimate'])} ({format_a2(row['std_error'])})", moved, str(row["said"])]


def _changed(row: pd.Series) -> str:
    gained, lost = int(row["exits_gained"]), int(row["exits_lost"])
    return " ".join([f"+{gained}"] * bool(gained) + [f"-{lost}"] * bool(lost)) or "same"


def _named(spec: Spec, exits: pd.DataFrame) -> list[str]:
    said = []
    for model in spec.models:
        for what in ("gained", "lost"):
            own = exits[(exits["table"] == spec.table) & (exits["model"] == model.key) & (exits["what"] == what)]
            if 0 < len(own) <= _MOST_NAMED:
                names = "; ".join(f"{r.state}, {r.war}, {r.date}" for r in own.itertuples(index=False))
                said.append(f"{model.head}: exits {what}: {names}.")
    return said


def _compensation(spec: Spec, folder: Path) -> list[str]:
    block, objection = spec.compensation, spec.objection
    assert block is not None
    assert objection is not None
    table = _read(folder / f"{spec.table}_bought_off.csv")
    shares = [
        (spec.label_of(r.term), f"{r.share:g}", f"{format_a2(r.estimate)} ({format_a2(r.std_error)})",
         f"{format_a2(r.direct_estimate)} ({format_a2(r.direct_std_error)})")
        for term in objection.focus
        for r in table[table["term"] == term].itertuples(index=False)
    ]  # fmt: skip
    over = _read(folder / f"{spec.table}_overturning.csv")
    found = over[(over["answer"] == "found") & over["term"].isin(list(objection.focus))]
    said = [
        f"{spec.label_of(r.term)}, {r.reading}: a share of {r.share:.2f} of the exits where `{r.where}`, "
        f"{r.hidden:.2f} for each observed there."
        for r in found.itertuples(index=False)
    ]
    simulated = _read(folder / f"{spec.table}_simulation.csv")
    strongest = simulated[simulated["strength"] == simulated["strength"].max()]
    told = [
        (_WHO[r.target], spec.label_of(r.term), f"{r.truth:g}", f"{r.mean:.2f}", f"{r.change:+.2f} ({r.change_mc:.2f})",
         r.reading)
        for r in strongest.itertuples(index=False)
    ]  # fmt: skip
    assert block.simulation is not None
    return [
        f"If a share of the exits in bad times was bought off ({block.imputations} imputations a share, seed "
        f"{block.seed}; errors in parentheses):",
        _table(("", "Share", "Imputed", "By offset"), shares),
        f"Shares up to {block.bound:g} that would overturn something, other patterns and findings being untouched:",
        "\n".join(f"- {text}" for text in said) or "- none.",
        f"In {block.simulation.replicates} simulated data sets at strength {strongest['strength'].iloc[0]:g} (Monte "
        "Carlo error of the change in parentheses):",
        _table(("Who is paid", "", "Truth", "Mean", "Change", "The estimate"), told),
        "[Compensation](compensation.md) says how these are computed.",
    ]


_WHO = {"all": "all", "independent": "states on fronts of their own", "common": "states on common fronts"}


def _uncertainty(spec: Spec, folder: Path) -> list[str]:
    assert spec.uncertainty is not None
    assert spec.objection is not None
    table = _read(folder / f"{spec.table}_uncertainty.csv")
    rows = [
        (spec.label_of(r.term), r.drawn, f"{format_a2(r.estimate)} ({format_a2(r.std_error)})", format_a2(r.shift),
         f"{r.share_coding:.0%}")
        for r in table[table["term"].isin(list(spec.objection.focus))].itertuples(index=False)
    ]  # fmt: skip
    return [
        f"{spec.uncertainty.draws} draws, seed {spec.uncertainty.seed}, by the kind of facts drawn:",
        _table(("", "Facts drawn", "Drawn", "Shift", "Share of the variance that is coding"), rows),
        "[Coding uncertainty](coding-uncertainty.md) says what is drawn and how to read the shift.",
    ]


def _influence(spec: Spec, folder: Path) -> list[str]:
    assert spec.objection is not None
    ranges = _read(folder / f"{spec.table}_influence.csv")
    ranges = ranges[ranges["term"].isin(list(spec.objection.focus))]
    rows = [
        (spec.label_of(r.term), r.left_out, f"{format_a2(r.smallest)} ({r.smallest_without})",
         f"{format_a2(r.largest)} ({r.largest_without})", f"{r.n_other_sign} of {r.n}")
        for r in ranges.itertuples(index=False)
    ]  # fmt: skip
    recoded = _read(folder / f"{spec.table}_recoding.csv")
    said = [f"- {spec.label_of(r.term)}, {r.reading}: {r.said.partition(': ')[2]}" for r in recoded.itertuples()]
    return [
        _table(("", "Left out", "Smallest (without)", "Largest (without)", "Other sign"), rows),
        "The smallest sets of spells that, coded otherwise, would overturn a finding:",
        "\n".join(said),
    ]


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return render(Grid("t", "", heads, tuple(rows)), "md").strip()


if __name__ == "__main__":
    main()
