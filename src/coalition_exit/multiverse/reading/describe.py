"""What ``validate`` says of a specification with choices."""

from __future__ import annotations

from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.choices.space import Multiverse


def describe(multiverse: Multiverse) -> str:
    """Say how many specs there are, and show the reference spec."""
    space = multiverse.space
    count, size = space.count(), space.size
    excluded = f" ({size - count:,} of {size:,} combinations excluded)" if count < size else ""
    digits = [d.reference for d in space.decisions]
    chosen = ", ".join(f"{k}={v}" for k, v in space.names(digits).items())
    shown_model = Resolver(multiverse).show(digits)
    return f"{count:,} specs from {len(digits)} decisions{excluded}\nreference spec: {chosen}\n{shown_model}"
