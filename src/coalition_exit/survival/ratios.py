"""exp(coefficient) under its own name in maketables' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from coalition_exit.survival.fit import Fit


def ratio_columns(fit: Fit, name: str) -> pd.DataFrame:
    """Return maketables' coefficient table of a fit.

    Parameters
    ----------
    fit
        Any fit.
    name
        Column for exp(b), with ``_se``, ``_ci95l`` and ``_ci95u`` beside it: "hr" is a hazard ratio, "or" an
        odds ratio, "shr" a subdistribution hazard ratio; "" leaves them out.
    """
    names = {"estimate": "b", "std_error": "se", "statistic": "t", "p_value": "p"}
    bounds = {"conf_low": "ci95l", "conf_high": "ci95u"}
    table = fit.tidy().set_index("term").rename(columns={**names, **bounds})[[*names.values(), *bounds.values()]]
    if name:
        ratios = fit.tidy(exponentiate=True).set_index("term")
        table[name], table[f"{name}_se"] = ratios["estimate"], ratios["std_error"]
        table[f"{name}_ci95l"], table[f"{name}_ci95u"] = ratios["conf_low"], ratios["conf_high"]
    return table.rename_axis("Coefficient")
