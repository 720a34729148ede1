"""What all ways of fitting a spec share: the multiverse with its data, and a spec on its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coalition_exit.multiverse.choices.resolve import Resolved, Resolver, Setting
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.multiverse.fits.columns import Columns
from coalition_exit.runner.sources import Source


class Context:
    """A multiverse and its data.

    Parameters
    ----------
    multiverse
        What to run.
    source
        Where rows come from.
    """

    def __init__(self, multiverse: Multiverse, source: Source) -> None:
        self.multiverse, self.source = multiverse, source
        self.choices = multiverse.choices
        self.focus = list(self.choices.focus)
        self.resolver, self.columns = Resolver(multiverse), Columns(source)


@dataclass(frozen=True, eq=False)
class Task:
    """One of the U different specs of a chunk: its place, what it is, its covariates on its rows."""

    at: int
    found: Resolved
    setting: Setting
    places: NDArray[np.int64]
