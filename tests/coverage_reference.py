"""Models of tests/reference/coverage_models.csv as fits, and the table of what all reference files cover.

    python tests/coverage_reference.py

prints the table that docs/estimators.md holds.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from coalition_exit.survival import CoxFit, CoxPH

REFERENCE = Path(__file__).parent / "reference"
SETS = (
    "heart", "cgd", "bladder2", "pbcseq", "rossi", "veteran", "lung", "kidney", "rats", "mgus2", "diabetic", "infert",
    "ovarian",
)  # fmt: skip
_OTHER_NAMES = {"bladder": "bladder2", "rossi_week": "rossi", "lung_month": "lung"}
COLUMNS = (
    "models", "coefficients", "cluster errors", "log-likelihood", "residuals", "PH tests", "baseline", "survival",
    "along a path", "exact ties", "tt()", "frailty", "Fine-Gray", "discrete",
)  # fmt: skip


@cache
def read_models(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}_models.csv", dtype=str, keep_default_na=False)


@cache
def read_values(name: str) -> pd.DataFrame:
    """Values that R made; a missing file fails and names its script."""
    path = REFERENCE / f"{name}.csv"
    assert path.is_file(), f"{path.name} is missing: run the script of tests/reference/ that makes it"
    types = {"model": str, "quantity": str, "term": str, "other": str}
    return pd.read_csv(
        path, keep_default_na=False, na_values={"value": ["NA"]}, dtype=types, float_precision="round_trip"
    )


@cache
def data_of(name: str) -> pd.DataFrame:
    path = REFERENCE / "data" / f"{name}.csv"
    path = path if path.is_file() else path.with_suffix(".csv.gz")
    return pd.read_csv(path, float_precision="round_trip").astype(float)


@cache
def fitted(model: str) -> CoxFit:
    """The model as R fitted it; its cluster sandwich has no small-sample factor."""
    spec = read_models("coverage").set_index("model").loc[model]
    extra = {name: spec[name] for name in ("cluster", "weights", "offset") if spec[name]}
    return CoxPH(ties=spec["ties"], correction="none").fit(spec["formula"], data_of(spec["data"]), **extra)


def summary(values: object) -> dict[str, float]:
    """What make_coverage.R keeps of a column: some values by place and four sums over all of them."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    kept = {str(at + 1): values[at] for at in range(0, n, -(-n // 6))}
    sums = {"sum": values.sum(), "absolute": np.abs(values).sum(), "square": (values**2).sum()}
    return kept | sums | {"position": (values * np.arange(1, n + 1)).sum() / n}


def _sets_by_model() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("cox", "checks", "predict", "vcov", "frailty", "discrete", "coverage"):
        found |= dict(read_models(name)[["model", "data"]].itertuples(index=False))
    return found


def _set_of(model: str, known: dict[str, str]) -> str:
    name = known.get(model, "")
    if not name:
        words = model.split("_")
        # Models of competing exits carry the kind of the model first; ridges of make_coverage.R, too.
        kinds = ("crr", "fg", "aj", "cause", "gray", "ridge")
        name = words[1] if words[0] in kinds and len(words) > 1 else words[0]
    name = name.removeprefix("discrete_")
    return _OTHER_NAMES.get(name, name)


def _columns_of(file: str, model: str, quantity: str) -> list[str]:
    """Columns of the table that a quantity of a model counts in."""
    if file.startswith("frailty"):
        return ["frailty"] if quantity == "coef" else []
    if file.startswith("competing"):
        return ["Fine-Gray"] if model.startswith(("crr", "fg")) and quantity == "coef" else []
    if file.startswith("discrete"):
        return ["discrete"] if quantity == "coef" else []
    if quantity == "coef":
        special = ["exact ties"] if "exact" in model or model.startswith("infert_clogit") else []
        return ["coefficients", *special, *(["tt()"] if "_tt_" in model or "split" in model else [])]
    if quantity.startswith(("score_", "grambsch_")):
        return ["PH tests"]
    kinds = {
        "cluster errors": ("vcov",),
        "log-likelihood": ("loglik",),
        "residuals": ("martingale", "schoenfeld"),
        "baseline": ("basehaz_zero", "baseline_hazard"),
        "survival": ("surv", "survival_hazard"),
        "along a path": ("path_surv", "path_hazard"),
    }
    return [column for column, names in kinds.items() if quantity in names]


def coverage() -> pd.DataFrame:
    """Number of models with reference values from R, by data set and quantity; models of one name count once."""
    known = _sets_by_model()
    clustered = set()
    for name in ("cox", "checks", "predict", "vcov", "coverage"):
        models = read_models(name)
        clustered |= set(models["model"][models["cluster"] != ""])
    counted: dict[tuple[str, str], set[str]] = {}
    files = (
        "cox_values", "cox_more_values", "checks_residuals", "checks_tests", "predict_values", "vcov_values",
        "frailty_values", "competing_values", "discrete_values", "coverage_values",
    )  # fmt: skip
    for file in files:
        for model, quantity in read_values(file)[["model", "quantity"]].drop_duplicates().itertuples(index=False):
            own = _set_of(model, known)
            for column in _columns_of(file, model, quantity):
                if column == "cluster errors" and model not in clustered and not model.startswith("pbcseq_tt"):
                    continue
                counted.setdefault((own, column), set()).add(model)
                counted.setdefault((own, "models"), set()).add(model)
    table = {column: [len(counted.get((own, column), ())) for own in SETS] for column in COLUMNS}
    return pd.DataFrame(table, index=pd.Index(SETS, name="data set"))


def markdown(table: pd.DataFrame) -> str:
    """Return the table as docs/estimators.md has it."""
    head = ["data set", *table.columns]
    rows = [
        [name, *(str(count or "") for count in row)] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    rows.append(["**all**", *(str(count) for count in table.sum())])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


if __name__ == "__main__":
    print(markdown(coverage()))
