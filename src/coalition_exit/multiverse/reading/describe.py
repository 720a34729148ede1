"""What ``validate`` says of a specification with choices."""

from __future__ import annotations

from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.choices.space import Multiverse

# Above so many specs the different fits are not counted.
_MOST_COUNTED = 200_000


def describe(multiverse: Multiverse) -> str:
    """Say how many specs there are and how many of them are different fits, and show the reference spec."""
    space, resolver = multiverse.space, Resolver(multiverse)
    count, size = space.count(), space.size
    excluded = f" ({size - count:,} of {size:,} combinations excluded)" if count < size else ""
    digits = [d.reference for d in space.decisions]
    chosen = ", ".join(f"{k}={v}" for k, v in space.names(digits).items())
    lines = [f"{count:,} specs from {len(digits)} decisions{excluded}", _fits(multiverse, resolver, count)]
    return "\n".join([*lines, f"reference spec: {chosen}", resolver.show(digits)])


def count_fits(multiverse: Multiverse, resolver: Resolver) -> int:
    """Return how many different models the specs are, whatever the data."""
    space = multiverse.space
    return len({resolver.identity(resolver.resolve(space.digits_of(number))) for number in space})


def _fits(multiverse: Multiverse, resolver: Resolver, count: int) -> str:
    if count > _MOST_COUNTED:
        return f"different fits: {count:,} at most (above {_MOST_COUNTED:,} specs they are not counted)"
    different = count_fits(multiverse, resolver)
    if different == count:
        return "different fits: all of them"
    return f"different fits: {different:,} (an option may have no effect beside others, or be another one's like)"
