"""What expressions of rules may ask: the facts about each exit, pull-back and entry.

`coalition_exit.coding.facts` computes them; here stand their names, kinds and meanings, so that a
rule can be checked before there are data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from coalition_exit.coding.expressions import NUMBER, Kind
from coalition_exit.record.codebook import Column, load_codebook

# Parameters of rules that hold an expression.
EXPRESSIONS = ("where", "competing", "pullbacks", "until_peace_if")


@dataclass(frozen=True)
class Fact:
    """One column that an expression may use.

    Attributes
    ----------
    kind
        What it holds.
    meaning
        In a sentence, with units.
    entry
        Whether it is known on the day of entry.
    """

    kind: Kind
    meaning: str
    entry: bool = False


_DATE = Kind("date")
_BONDS = {
    "alliance": "formally allied",
    "no_separate_peace": "pledged to no separate peace",
    "integrated_command": "under one integrated command",
}
_AIMS = {
    "territory": "wanted territory",
    "regime": "wanted to change the enemy's regime",
    "policy": "wanted to change or uphold a policy",
    "survival": "fought for its survival",
}


def _bonds(suffix: str, when: str) -> dict[str, Fact]:
    return {
        f"{name}{suffix}": Fact(NUMBER, f"1 if {text} with a partner at war on {when}") for name, text in _BONDS.items()
    }


_COMPUTED: Mapping[str, Fact] = {
    "year": Fact(NUMBER, "Calendar year of the exit"),
    "start": Fact(_DATE, "First day of the spell", entry=True),
    "days": Fact(NUMBER, "Days the spell lasted"),
    "days_late": Fact(NUMBER, "Days from its side's first day to the state's first", entry=True),
    "days_left": Fact(NUMBER, "Days the war's fighting went on after the exit"),
    "side_days_left": Fact(NUMBER, "Days from the exit to the last day on which its side fought"),
    "war_start": Fact(_DATE, "First day of the war", entry=True),
    "war_year": Fact(NUMBER, "Calendar year of the war's first day", entry=True),
    "war_end": Fact(_DATE, "Last day of fighting in the war"),
    "peace": Fact(_DATE, "Day of the peace settlement; missing where there was none"),
    "world_war": Fact(NUMBER, "1 for the two world wars", entry=True),
    "coordination": Fact(
        Kind("text", ("yes", "no", "unclear")), "Is there evidence that the side coordinated its war", entry=True
    ),
    "members": Fact(NUMBER, "States that ever fought on the side, this one included"),
    "partners": Fact(NUMBER, "Partners at war on the day of the exit"),
    "partners_after": Fact(NUMBER, "Partners at war on the day after"),
    "deaths": Fact(NUMBER, "Battle deaths over the whole participation (COW); missing where COW has none"),
    "force_share": Fact(NUMBER, "Share (0-1) of its side's soldiers on the day of the exit"),
    "entry_force_share": Fact(NUMBER, "The same on the first day", entry=True),
    "mean_force_share": Fact(NUMBER, "The same, mean over the days of the spell"),
    "largest_force_share": Fact(NUMBER, "The same, largest over the days of the spell"),
    "cinc_share": Fact(NUMBER, "Share (0-1) of its side's capabilities (CINC) on the day of the exit"),
    "front_share": Fact(NUMBER, "Share (0-1) of its troops on common fronts on the day of the exit"),
    "polity2": Fact(NUMBER, "Polity score on the day of the exit, -10 to 10"),
    "new_leader": Fact(NUMBER, "1 if the leader on the day of the exit came in after the entry"),
    "pulled_back": Fact(NUMBER, "1 if a partial pull-back began in the spell"),
    **_bonds("", "the day of the exit"),
    **_bonds("_entry", "the first day on which it had one"),
    **_bonds("_ever", "some day of the spell"),
    **{name: Fact(NUMBER, f"1 if it {text} on the day of the exit") for name, text in _AIMS.items()},
    **{f"{name}_entry": Fact(NUMBER, f"1 if it {text} on the first day", entry=True) for name, text in _AIMS.items()},
}

_OF_PULLBACKS: Mapping[str, Fact] = {
    "spell": Fact(NUMBER, "Spell in which it falls"),
    "year": Fact(NUMBER, "Calendar year in which it began"),
    "world_war": Fact(NUMBER, "1 for the two world wars"),
}
_ENTRY_KEYS = ("warnum", "side", "ccode", "spell")


@cache
def facts_of(method: str, parameter: str) -> Mapping[str, Fact]:
    """Return the columns that an expression in a parameter of a method may use."""
    if parameter == "pullbacks":
        return _coded("pullbacks") | dict(_OF_PULLBACKS)
    exits = _coded("exits")
    if method == "entry_fact":
        known = {name: fact for name, fact in _COMPUTED.items() if fact.entry}
        return {name: exits[name] for name in _ENTRY_KEYS} | known
    return exits | dict(_COMPUTED)


def kinds_of(method: str, parameter: str) -> dict[str, Kind]:
    """Return what each of those columns holds."""
    return {name: fact.kind for name, fact in facts_of(method, parameter).items()}


def _coded(table: str) -> dict[str, Fact]:
    return {c.name: Fact(_kind(c), c.meaning) for c in load_codebook().tables[table].columns}


def _kind(column: Column) -> Kind:
    if column.type in ("int", "number"):
        return NUMBER
    return Kind("date" if column.type == "date" else "text", column.values)
