"""Whether a multiverse can be run on data that are not the record: coding rules need the record's facts."""

from __future__ import annotations

from coalition_exit.errors import SpecError
from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.choices.space import Multiverse
from coalition_exit.runner.sources import ArchiveSource, Source

# Above so many specs only the decisions are looked at.
_MOST_LOOKED_AT = 100_000


def check_data(multiverse: Multiverse, source: Source) -> str:
    """Return what to say of options that the data cannot serve; "" when they can serve all.

    Raises
    ------
    SpecError
        When no spec could be estimated.
    """
    if not isinstance(source, ArchiveSource):
        return ""
    decisions = recoding(multiverse)
    space, resolver = multiverse.space, Resolver(multiverse)
    place = multiverse.file.place(("choices",))
    named = "; ".join(f"{name} ({', '.join(options)})" for name, options in decisions.items()) or "the reference model"
    if space.count() > _MOST_LOOKED_AT:
        return (
            f"options that need the facts of the record are not estimated on these data: {named}" if decisions else ""
        )
    total = lost = 0
    for number in space:
        total += 1
        lost += resolver.recodes(resolver.resolve(space.digits_of(number)))
    if lost == total:
        expected = "a spec without coding rules, which need the facts of the record"
        raise SpecError(place, expected, f"rules in all {total:,}: {named}", "Run it with --data record")
    if not lost:
        return ""
    return (
        f"{lost:,} of {total:,} specs need the facts of the record and are not estimated on these data ({named}); "
        "--data record runs all"
    )


def recoding(multiverse: Multiverse) -> dict[str, list[str]]:
    """Return the options that code something otherwise, by decision; "all" where every option does."""
    found = {}
    for decision in multiverse.space.decisions:
        if decision.kind not in ("options", "sweep"):
            continue
        names = [option.name for option in decision.options if option.patch.coding]
        if names:
            found[decision.name] = names if len(names) < len(decision.options) else ["all options"]
    return found
