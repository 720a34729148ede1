"""Terms tt(x, function) of a formula, before anything is known of event times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coalition_exit.errors import DataError, nearest, one_of
from coalition_exit.survival.data.surv import Floats

TimeFunction = Callable[..., Any]


def _identity(t: Floats) -> Floats:
    return t


TIME_FUNCTIONS: dict[str, TimeFunction] = {"log": np.log, "identity": _identity, "sqrt": np.sqrt}


@dataclass(frozen=True, eq=False)
class TimeTerm:
    """One term tt(x, function).

    Attributes
    ----------
    names : tuple of str
        Names of the q coefficients.
    x : shape (n, q)
        The covariates before they are multiplied.
    function : callable
        g(t), which multiplies x; or f(x, t), which gives the covariate itself.
    """

    names: tuple[str, ...]
    x: Floats
    function: TimeFunction


def find_function(name: str, given: Mapping[str, TimeFunction] | None) -> TimeFunction:
    """Return the function named in a tt() term: the user's, or log, identity or sqrt.

    Raises
    ------
    DataError
        Unknown name (with the nearest one), or a value that cannot be called.
    """
    known = {**TIME_FUNCTIONS, **(given or {})}
    if name not in known:
        raise DataError("formula, tt()", f"a function, {one_of(known)}", repr(name), nearest(name, known))
    if not callable(known[name]):
        raise DataError(
            f"tt[{name!r}]", "a function of time, g(t), or of covariate and time, f(x, t)", repr(known[name])
        )
    return known[name]
